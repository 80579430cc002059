"""How many candidates a search of a large scope looks at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.types import MemoryType, Ranking, SearchFilters, SearchQuery
from deployments.store.candidates import Candidates, Population

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MILLION = Population(1_000_000, 1_000_000, 1_000_000, 96_000)


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
    assert (found.nearest, found.recent, found.newest) == (200, 48, 8_000)
    assert found.recent_after == NOW - timedelta(days=30 * 0.7 / (1 - 0.7))


@pytest.mark.parametrize(
    ("half_life_days", "of_late", "newest"),
    [(30, 2_900, 3_000), (90, 20_000, 7_000), (0.1, 0, 3_000)],
)
def test_of_the_newest_a_part_of_what_is_of_late_is_sought(
    half_life_days: float, of_late: int, newest: int
) -> None:
    ranking = Ranking(half_life_days=half_life_days)
    found = chosen(Population(1_000_000, 50_000, 50_000, of_late), ranking=ranking)
    assert found.newest == newest
    assert found.nearest == 50


def test_of_a_span_of_time_as_many_of_the_newest_are_sought_as_of_all() -> None:
    filters = SearchFilters(created_after=NOW - timedelta(days=90))
    found = chosen(Population(1_000_000, 120_000, 120_000, 96_000), filters=filters)
    assert (found.nearest, found.recent, found.newest) == (120, 0, 8_000)


def test_where_few_pass_fewer_are_sought_of_what_is_slow_to_find() -> None:
    filters = SearchFilters(metadata={"project": "memex"})
    tenth, fiftieth = (
        chosen(replace(MILLION, matching=n), filters=filters) for n in (100_000, 20_000)
    )
    assert (tenth.nearest, tenth.newest) == (150, 2_000)
    assert (fiftieth.nearest, fiftieth.newest) == (50, 500)
    assert tenth.recent == fiftieth.recent == 0
    assert tenth.recent_after is None


def test_few_of_a_type_are_found_in_the_order_of_time() -> None:
    filters = SearchFilters(MemoryType.PROCEDURAL)
    tenth, third = (
        chosen(replace(MILLION, matching=n), filters=filters) for n in (100_000, 330_000)
    )
    assert (tenth.nearest, tenth.newest) == (100, 3_360)
    assert (third.nearest, third.newest) == (200, 8_000)


@pytest.mark.parametrize(
    ("of_late", "recent"), [(0, 0), (3_000, 2), (300_000, 150), (1_000_000, 200)]
)
def test_the_more_is_of_late_the_more_of_its_nearest_are_sought(of_late: int, recent: int) -> None:
    found = chosen(Population(1_000_000, 1_000_000, 1_000_000, of_late))
    assert found.recent == recent
    assert (found.recent_after is None) == (recent == 0)


def test_the_index_holds_other_scopes_too_but_the_order_of_time_does_not() -> None:
    found = chosen(Population(1_000_000, 30_000, 30_000, 3_000))
    assert (found.nearest, found.recent, found.newest) == (50, 2, 3_000)


def test_a_span_of_time_that_is_of_late_needs_no_nearest_of_late() -> None:
    days_50, days_100, years = (
        chosen(filters=SearchFilters(created_after=NOW - timedelta(days=days)))
        for days in (50, 100, 1_000)
    )
    assert days_50.recent == days_100.recent == 0
    assert years.recent == 48


@pytest.mark.parametrize("top_k", [1, 100, 1_000])
def test_there_are_never_fewer_than_are_asked_for(top_k: int) -> None:
    for population in (MILLION, Population(0, 0, 0), Population(10**9, 10**6, 30_000)):
        for alpha in (0.0, 0.5, 1.0):
            found = chosen(population, ranking=Ranking(alpha), top_k=top_k, counts_words=False)
            assert found.nearest >= top_k
            assert found.newest >= top_k


def test_where_age_does_not_count_the_newest_are_no_candidates_of_their_own() -> None:
    assert chosen(ranking=Ranking(1.0), counts_words=False).newest == 10
    assert chosen(ranking=Ranking(1.0), counts_words=True).newest == 8_000


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_nothing_is_of_late_where_only_one_thing_counts(alpha: float) -> None:
    assert chosen(ranking=Ranking(alpha)).recent_after is None


def test_a_guess_that_is_more_than_there_is_stays_a_share() -> None:
    found = chosen(Population(10, 10, 1_000_000, 100_000))
    assert (found.nearest, found.newest) == (200, 8_000)
