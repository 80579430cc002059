from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.ranking import (
    Ranking,
    fuses_by_rank,
    lexical_share,
    recency,
    score,
    similarities,
)

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
def test_score_is_the_weighted_sum_of_its_parts(ranking: Ranking, expected: float) -> None:
    assert score(0.8, NOW - timedelta(days=30), 1.5, ranking, NOW) == expected


@pytest.mark.parametrize(
    ("ranking", "share"),
    [
        (Ranking(), 1 / 3),
        (Ranking(lexical_weight=1.0), 0.5),
        (Ranking(lexical_weight=0.0), 0.0),
        (Ranking(mode="semantic", lexical_weight=1.0), 0.0),
        (Ranking(mode="lexical", lexical_weight=0.0), 1.0),
    ],
)
def test_lexical_share_depends_on_mode_and_weight(ranking: Ranking, share: float) -> None:
    assert lexical_share(ranking, 0.5) == pytest.approx(share)


def test_ranks_are_fused_only_in_hybrid_mode() -> None:
    assert fuses_by_rank(Ranking(fusion="rrf"))
    assert not fuses_by_rank(Ranking(fusion="rrf", mode="lexical"))
    assert not fuses_by_rank(Ranking())


def test_weighted_similarity_divides_bm25_by_the_best() -> None:
    assert similarities([0.9, 0.3], [2.0, 4.0], 0.25, by_rank=False) == pytest.approx(
        [0.75 * 0.9 + 0.25 * 0.5, 0.75 * 0.3 + 0.25]
    )
    assert similarities([0.9, 0.3], [0.0, 0.0], 0.25, by_rank=False) == [0.9, 0.3]
    assert similarities([], [], 0.25, by_rank=True) == []


def test_rank_fusion_equals_the_formula_computed_by_hand() -> None:
    fused = similarities([0.9, 0.5, 0.5], [0.0, 1.0, 3.0], 0.5, by_rank=True)
    assert fused == pytest.approx([30.5 / 61, 30.5 * (1 / 62 + 1 / 62), 30.5 * (1 / 62 + 1 / 61)])
