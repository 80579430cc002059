"""How many candidates a search of a large scope reads."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.domain.memories import MemoryType
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.store.searches.candidates import Candidates, Population, max_likely
from deployments.store.searches.tuning import SearchTuning

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TUNING = SearchTuning()
MILLION = Population(1_000_000, 1_000_000, 1_000_000, 96_000)


def candidates_of(
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


def test_search_without_filters_reads_the_most_candidates() -> None:
    assert candidates_of() == Candidates(600, 7_000)


@pytest.mark.parametrize(
    ("half_life_days", "recent", "newest"),
    [(30, 2_900, 3_500), (90, 20_000, 6_000), (0.1, 0, 3_500)],
)
def test_newest_candidates_are_a_share_of_the_recent_memories_within_bounds(
    half_life_days: float, recent: int, newest: int
) -> None:
    ranking = Ranking(half_life_days=half_life_days)
    candidates = candidates_of(Population(1_000_000, 50_000, 50_000, recent), ranking=ranking)
    assert candidates == Candidates(50, newest)


def test_time_filter_does_not_reduce_the_newest_candidates() -> None:
    filters = SearchFilters(created_after=NOW - timedelta(days=90))
    candidates = candidates_of(Population(1_000_000, 120_000, 120_000, 96_000), filters=filters)
    assert candidates == Candidates(72, 7_000)


def test_selective_metadata_filter_reduces_the_candidates() -> None:
    filters = SearchFilters(metadata=parse_filter({"project": "memex"}))
    tenth, fiftieth = (
        candidates_of(replace(MILLION, matching=n), filters=filters) for n in (100_000, 20_000)
    )
    assert tenth == Candidates(150, 2_000)
    assert fiftieth == Candidates(50, 500)


def test_type_filter_reduces_the_nearest_more_than_the_newest_candidates() -> None:
    filters = SearchFilters(MemoryType.PROCEDURAL)
    tenth, third = (
        candidates_of(replace(MILLION, matching=n), filters=filters) for n in (100_000, 330_000)
    )
    assert tenth == Candidates(60, 3_500)
    assert third == Candidates(198, 7_000)


def test_only_nearest_candidates_depend_on_the_share_of_the_scope_in_the_index() -> None:
    assert candidates_of(Population(1_000_000, 30_000, 30_000, 3_000)) == Candidates(50, 3_500)


@pytest.mark.parametrize("top_k", [1, 100, 1_000])
def test_candidates_of_each_kind_are_at_least_top_k(top_k: int) -> None:
    for population in (MILLION, Population(0, 0, 0), Population(10**9, 10**6, 30_000)):
        for alpha in (0.0, 0.5, 1.0):
            candidates = candidates_of(
                population, ranking=Ranking(alpha), top_k=top_k, counts_words=False
            )
            assert candidates.nearest >= top_k
            assert candidates.newest >= top_k


@pytest.mark.parametrize(
    ("top_k", "expected"), [(1, Candidates(600, 7_000)), (40, Candidates(1_200, 14_000))]
)
def test_candidates_grow_with_the_square_root_of_top_k(top_k: int, expected: Candidates) -> None:
    assert candidates_of(top_k=top_k) == expected


def test_newest_candidates_are_only_top_k_if_neither_age_nor_terms_count() -> None:
    assert candidates_of(ranking=Ranking(1.0), counts_words=False).newest == 10
    assert candidates_of(ranking=Ranking(1.0), counts_words=True).newest == 7_000


@pytest.mark.parametrize(
    ("ranking", "nearest"),
    [(Ranking(0.7), 600), (Ranking(1.0), 300), (Ranking(0.0), 300), (Ranking(0.7, 1e6), 300)],
)
def test_nearest_candidates_are_halved_if_age_makes_no_difference_or_only_age_counts(
    ranking: Ranking, nearest: int
) -> None:
    assert candidates_of(ranking=ranking).nearest == nearest


def test_nearest_candidates_are_at_least_the_minimum_of_the_tuning() -> None:
    query = SearchQuery("agent", "user", "q", ranking=Ranking(1.0))
    assert Candidates.of(query, MILLION, TUNING, max_nearest=50, counts_words=False).nearest == 50


def test_estimate_above_the_size_of_the_scope_counts_as_all_of_it() -> None:
    candidates = candidates_of(Population(10, 10, 1_000_000, 100_000))
    assert candidates == Candidates(600, 7_000)


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
def test_more_memories_with_sketches_are_scored_if_age_makes_no_difference(
    ranking: Ranking, top_k: int, expected: int
) -> None:
    assert max_likely(SearchQuery("agent", "user", "q", top_k, ranking), TUNING) == expected
