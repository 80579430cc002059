from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.ranking import recency, score
from deployments.domain.types import Ranking

NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age_days", "expected"), [(0, 1.0), (30, 0.5), (60, 0.25), (-1, 1.0), (30_000, 0.0)]
)
def test_recency_halves_each_half_life(age_days: int, expected: float) -> None:
    assert recency(NOW - timedelta(days=age_days), NOW, 30.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        (Ranking(1.0), 0.8),
        (Ranking(0.0), 0.5),
        (Ranking(0.7), 0.71),
        (Ranking(0.7, 30.0, 0.5), 1.085),
    ],
)
def test_score_weighs_its_parts(ranking: Ranking, expected: float) -> None:
    assert score(0.8, NOW - timedelta(days=30), 1.5, ranking, NOW) == expected
