"""How many candidates a search of a large scope looks at."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.types import Ranking, SearchFilters, SearchQuery
from deployments.store.candidates import Candidates, Population

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MILLION = Population(1_000_000, 1_000_000, 1_000_000)


def chosen(
    population: Population = MILLION,
    *,
    ranking: Ranking | None = None,
    filters: SearchFilters | None = None,
    top_k: int = 10,
    counts_words: bool = True,
) -> Candidates:
    query = SearchQuery(
        "agent", "user", "q", top_k, ranking or Ranking(), filters or SearchFilters(), NOW
    )
    return Candidates.of(query, population, 200, counts_words)


def test_without_filters_there_are_as_many_as_there_may_be() -> None:
    found = chosen()
    assert (found.nearest, found.recent, found.newest) == (200, 50, 8_000)
    assert found.recent_after == NOW - timedelta(days=30 * 0.7 / (1 - 0.7))


def test_where_few_pass_fewer_are_sought_of_what_is_slow_to_find() -> None:
    tenth, fiftieth = (chosen(Population(1_000_000, 1_000_000, n)) for n in (100_000, 20_000))
    assert (tenth.nearest, tenth.newest) == (150, 2_000)
    assert (fiftieth.nearest, fiftieth.newest) == (50, 500)
    assert tenth.recent == fiftieth.recent == 0
    assert tenth.recent_after is None


def test_the_index_holds_other_scopes_too_but_the_order_of_time_does_not() -> None:
    found = chosen(Population(1_000_000, 30_000, 30_000))
    assert (found.nearest, found.newest) == (50, 8_000)


def test_a_span_of_time_that_is_of_late_needs_no_nearest_of_late() -> None:
    days_50, days_100, years = (
        chosen(filters=SearchFilters(created_after=NOW - timedelta(days=days)))
        for days in (50, 100, 1_000)
    )
    assert days_50.recent == days_100.recent == 0
    assert years.recent == 50


@pytest.mark.parametrize("top_k", [1, 100, 1_000])
def test_there_are_never_fewer_than_are_asked_for(top_k: int) -> None:
    for population in (MILLION, Population(0, 0, 0), Population(10**9, 10**6, 30_000)):
        for alpha in (0.0, 0.5, 1.0):
            found = chosen(population, ranking=Ranking(alpha), top_k=top_k, counts_words=False)
            assert found.nearest >= top_k
            assert found.newest >= top_k
            assert found.recent == 0 or found.recent >= top_k


def test_where_age_does_not_count_the_newest_are_no_candidates_of_their_own() -> None:
    assert chosen(ranking=Ranking(1.0), counts_words=False).newest == 10
    assert chosen(ranking=Ranking(1.0), counts_words=True).newest == 8_000


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_nothing_is_of_late_where_only_one_thing_counts(alpha: float) -> None:
    assert chosen(ranking=Ranking(alpha)).recent_after is None


def test_a_guess_that_is_more_than_there_is_stays_a_share() -> None:
    found = chosen(Population(10, 10, 1_000_000))
    assert (found.nearest, found.newest) == (200, 8_000)
