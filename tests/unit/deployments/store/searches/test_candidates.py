"""How many candidates a search of a large scope looks at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.memories import MemoryType
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.store.searches.candidates import Candidates, Population, likely
from deployments.store.searches.tuning import SearchTuning

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TUNING = SearchTuning()
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
    return Candidates.of(query, population, TUNING, max_nearest=600, counts_words=counts_words)


def test_without_filters_there_are_as_many_as_there_may_be() -> None:
    assert chosen() == Candidates(600, 7_000)


@pytest.mark.parametrize(
    ("half_life_days", "recent", "newest"),
    [(30, 2_900, 3_500), (90, 20_000, 6_000), (0.1, 0, 3_500)],
)
def test_of_the_newest_a_part_of_what_is_recent_is_sought(
    half_life_days: float, recent: int, newest: int
) -> None:
    ranking = Ranking(half_life_days=half_life_days)
    found = chosen(Population(1_000_000, 50_000, 50_000, recent), ranking=ranking)
    assert found == Candidates(50, newest)


def test_of_a_span_of_time_as_many_of_the_newest_are_sought_as_of_all() -> None:
    filters = SearchFilters(created_after=NOW - timedelta(days=90))
    found = chosen(Population(1_000_000, 120_000, 120_000, 96_000), filters=filters)
    assert found == Candidates(72, 7_000)


def test_where_few_pass_fewer_are_sought_of_what_is_slow_to_find() -> None:
    filters = SearchFilters(metadata={"project": "memex"})
    tenth, fiftieth = (
        chosen(replace(MILLION, matching=n), filters=filters) for n in (100_000, 20_000)
    )
    assert tenth == Candidates(150, 2_000)
    assert fiftieth == Candidates(50, 500)


def test_few_of_a_type_are_found_in_the_order_of_time() -> None:
    filters = SearchFilters(MemoryType.PROCEDURAL)
    tenth, third = (
        chosen(replace(MILLION, matching=n), filters=filters) for n in (100_000, 330_000)
    )
    assert tenth == Candidates(60, 3_500)
    assert third == Candidates(198, 7_000)


def test_the_index_holds_other_scopes_too_but_the_order_of_time_does_not() -> None:
    assert chosen(Population(1_000_000, 30_000, 30_000, 3_000)) == Candidates(50, 3_500)


@pytest.mark.parametrize("top_k", [1, 100, 1_000])
def test_there_are_never_fewer_than_are_asked_for(top_k: int) -> None:
    for population in (MILLION, Population(0, 0, 0), Population(10**9, 10**6, 30_000)):
        for alpha in (0.0, 0.5, 1.0):
            found = chosen(population, ranking=Ranking(alpha), top_k=top_k, counts_words=False)
            assert found.nearest >= top_k
            assert found.newest >= top_k


@pytest.mark.parametrize(
    ("top_k", "candidates"), [(1, Candidates(600, 7_000)), (40, Candidates(1_200, 14_000))]
)
def test_who_asks_for_more_hits_has_more_looked_at(top_k: int, candidates: Candidates) -> None:
    assert chosen(top_k=top_k) == candidates


def test_where_age_does_not_count_the_newest_are_no_candidates_of_their_own() -> None:
    assert chosen(ranking=Ranking(1.0), counts_words=False).newest == 10
    assert chosen(ranking=Ranking(1.0), counts_words=True).newest == 7_000


@pytest.mark.parametrize(
    ("ranking", "nearest"),
    [(Ranking(0.7), 600), (Ranking(1.0), 300), (Ranking(0.0), 300), (Ranking(0.7, 1e6), 300)],
)
def test_fewer_of_the_nearest_are_sought_where_only_one_thing_counts(
    ranking: Ranking, nearest: int
) -> None:
    assert chosen(ranking=ranking).nearest == nearest


def test_the_fewest_of_the_nearest_are_sought_whatever_the_most_are() -> None:
    query = SearchQuery("agent", "user", "q", ranking=Ranking(1.0))
    assert Candidates.of(query, MILLION, TUNING, max_nearest=50, counts_words=False).nearest == 50


def test_a_guess_that_is_more_than_there_is_stays_a_share() -> None:
    found = chosen(Population(10, 10, 1_000_000, 100_000))
    assert found == Candidates(600, 7_000)


@pytest.mark.parametrize(
    ("ranking", "top_k", "expected"),
    [
        (Ranking(), 10, 500),
        (Ranking(), 40, 1_000),
        (Ranking(0.0), 10, 500),
        (Ranking(1.0), 10, 1_500),
        (Ranking(1.0), 90, 4_500),
        (Ranking(half_life_days=1_000_000.0), 10, 1_500),
    ],
)
def test_more_are_likely_where_age_tells_nothing(
    ranking: Ranking, top_k: int, expected: int
) -> None:
    assert likely(SearchQuery("agent", "user", "q", top_k, ranking), TUNING) == expected
