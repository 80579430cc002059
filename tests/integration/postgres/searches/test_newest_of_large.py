"""Searches of a large scope: how many recent memories they scan for candidates."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deployments.domain.memories import Memory, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchCall, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import StoreSettings
from deployments.store.store import Tuning, build_store
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.memories import explain_search, put_in_index, unit_vectors

_LARGE = StoreSettings(exact_search_rows=0, search_candidates=50)
_ROWS, _NEWEST = 1_000, 300


_FEW_CANDIDATES = SearchTuning(max_newest=_NEWEST, min_newest=_NEWEST)
# A term that more than ten memories have is not rare.
_TERMS_ARE_COMMON_FROM_11 = replace(_FEW_CANDIDATES, max_lexical=10, max_lexical_of_rarest=10)


class _Scope:
    """1,000 memories, newest first, each an hour older than the one before it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.tuning = _FEW_CANDIDATES
        self.query_vector = unit_vectors(1)[0]
        self.cosines = np.zeros(_ROWS)
        self.importances = np.zeros(_ROWS)
        self.contents = [f"memory {n}" for n in range(_ROWS)]
        self._now = datetime.now(UTC)
        self._generation = 0

    async def fill(self) -> None:
        orthogonal = unit_vectors(_ROWS)
        orthogonal -= np.outer(orthogonal @ self.query_vector, self.query_vector)
        orthogonal /= np.linalg.norm(orthogonal, axis=1, keepdims=True)
        vectors = np.outer(self.cosines, self.query_vector)
        vectors += np.sqrt(1 - self.cosines**2)[:, None] * orthogonal
        store = build_store(self.pool, StoreSettings())
        self._generation = await store.generations.adopt_generation(IDENTITY)
        new = [
            NewMemory(
                uuid7(),
                "agent",
                "user",
                self.contents[n],
                importance=self.importances[n],
                created_at=self._now - timedelta(hours=n),
            )
            for n in range(_ROWS)
        ]
        await store.inserts.insert(new, vectors.astype(np.float32), self._generation, None)
        await put_in_index(store)

    def put_needles_near(self) -> None:
        """Make 20 memories of middle age near to the query, with the term `needle` among others."""
        self.cosines[500:520] = np.linspace(0.7, 0.9, 20)
        for n in range(500, 520):
            self.contents[n] = f"needle in a stack of hay {n}"

    def query(self, ranking: Ranking, text: str = "q", top_k: int = 10) -> SearchQuery:
        """A search that reads no spare candidates, so that its last hit is the tenth."""
        return SearchQuery("agent", "user", text, top_k, ranking, as_of=self._now, diversity=0)

    async def hits(self, query: SearchQuery, settings: StoreSettings) -> list[Memory]:
        store = build_store(self.pool, settings, tuning=Tuning(search=self.tuning))
        return await store.searches.search(query, self.query_vector, self._generation, None)

    async def exact_and_found(
        self, query: SearchQuery
    ) -> tuple[Sequence[Memory], Sequence[Memory]]:
        """The hits of scoring all memories, and those of scoring candidates."""
        return await self.hits(query, StoreSettings()), await self.hits(query, _LARGE)

    async def scanned_rows(self, query: SearchQuery) -> int:
        """How many recent memories the statement reads."""
        call = SearchCall(query, self.query_vector, self._generation, None)
        store = build_store(self.pool, _LARGE, tuning=Tuning(search=self.tuning))
        plan = await explain_search(store, call, _ROWS)
        scan = re.search(r"using memories_scope .*rows=(\d+)", plan)
        assert scan is not None
        return int(scan[1])


@pytest.fixture
def scope(pool: Pool) -> _Scope:
    return _Scope(pool)


@pytest.fixture
def terms_are_common_from_11(scope: _Scope) -> None:
    scope.tuning = _TERMS_ARE_COMMON_FROM_11


async def test_scan_ends_at_the_age_beyond_which_no_memory_can_outscore_the_last_hit(
    scope: _Scope,
) -> None:
    """Ten memories have cosines of 0.4 to 0.9, the others of 0. One of the others scores 0.3 at
    most, and outscores the last of the ten only if it is recent enough."""
    scope.cosines[500:510] = np.linspace(0.4, 0.9, 10)
    await scope.fill()
    scanned = []
    for half_life_days in (2.0, 10.0, 1_000.0):
        query = scope.query(Ranking(0.7, half_life_days, mode="semantic"))
        exact, found = await scope.exact_and_found(query)
        assert found == exact
        scanned.append(await scope.scanned_rows(query))
    # The last of the ten scores 0.28, 0.35 and 0.58. Others score 0.28 at an age of 0.1 half-lives,
    # and never 0.35 or 0.58.
    least_hours = 24 * 2.0 * -np.log2(0.28 / 0.3)
    assert least_hours <= scanned[0] <= 4 * least_hours
    assert scanned[1:] == [1, 1]  # the memory of this moment


async def test_scan_reads_all_it_may_if_nothing_is_near(scope: _Scope) -> None:
    await scope.fill()
    for half_life_days in (0.001, 30.0):
        query = scope.query(Ranking(0.7, half_life_days, mode="semantic"))
        assert await scope.scanned_rows(query) == _NEWEST
    exact, found = await scope.exact_and_found(query)
    assert [hit.score for hit in found] == [hit.score for hit in exact]


async def test_scan_finds_an_important_memory_far_from_the_query(scope: _Scope) -> None:
    scope.cosines[500:520] = 0.5
    scope.importances[100] = 2.0
    scope.cosines[100] = -0.1
    await scope.fill()
    query = scope.query(Ranking(0.7, 1.0, importance_weight=0.5, mode="semantic"))
    exact, found = await scope.exact_and_found(query)
    assert exact[0].content == found[0].content == "memory 100"


@pytest.mark.parametrize("ranking", [Ranking(0.0, 30.0), Ranking(1.0, mode="semantic")], ids=str)
async def test_ranking_by_only_recency_or_only_similarity_finds_the_best(
    scope: _Scope, ranking: Ranking
) -> None:
    scope.cosines[500:550] = np.linspace(0.1, 0.9, 50)
    await scope.fill()
    query = scope.query(ranking)
    exact, found = await scope.exact_and_found(query)
    assert [hit.score for hit in found] == [hit.score for hit in exact]


@pytest.mark.usefixtures("terms_are_common_from_11")
@pytest.mark.parametrize(
    "ranking",
    [Ranking(0.9, 30.0, mode="lexical"), Ranking(0.9, 30.0, lexical_weight=2.0)],
    ids=["lexical", "hybrid"],
)
async def test_scan_finds_a_common_term_that_none_of_the_nearest_has(
    scope: _Scope, ranking: Ranking
) -> None:
    scope.cosines[500:520] = 0.9
    for n in range(100, 250):
        scope.contents[n], scope.cosines[n] = f"needle {n}", -0.1
    await scope.fill()
    query = scope.query(ranking, "needle")
    exact, found = await scope.exact_and_found(query)
    assert {hit.id for hit in found} == {hit.id for hit in exact}
    assert all("needle" in hit.content for hit in found)


@pytest.mark.usefixtures("terms_are_common_from_11")
async def test_scan_finds_the_best_bm25_that_normalises_lexical(scope: _Scope) -> None:
    """The memory with the best BM25 is no hit, but the hits' lexical similarity is relative to
    it."""
    scope.put_needles_near()
    scope.contents[0], scope.cosines[0] = "needle", -0.9
    await scope.fill()
    exact, found = await scope.exact_and_found(scope.query(Ranking(0.9, 30.0), "needle"))
    assert "needle" not in {hit.content for hit in exact}
    assert found == exact


async def test_term_index_finds_the_best_bm25_that_normalises_lexical(scope: _Scope) -> None:
    """As above, but the memory is old and its term is rare."""
    scope.put_needles_near()
    scope.contents[900], scope.cosines[900] = "needle", -0.9
    await scope.fill()
    exact, found = await scope.exact_and_found(scope.query(Ranking(0.9, 30.0), "needle"))
    assert "needle" not in {hit.content for hit in exact}
    assert found == exact


@pytest.mark.usefixtures("terms_are_common_from_11")
async def test_better_bm25_in_the_scan_lets_nearer_memories_outscore_lexical_ones(
    scope: _Scope,
) -> None:
    """Ten memories have the term, ten others are nearer. A recent memory, which is no hit, has the
    term three times: relative to it, the term is worth less and the nearer ones win."""
    stack = " ".join(f"hay{n}" for n in range(60))
    for n in range(500, 510):
        scope.contents[n], scope.cosines[n] = f"needle {stack}", 0.5
    scope.cosines[510:520] = 0.7
    scope.contents[0], scope.cosines[0] = "needle needle needle", -0.9
    await scope.fill()
    exact, found = await scope.exact_and_found(scope.query(Ranking(0.9, 30.0), "needle"))
    assert {hit.content for hit in exact} == {f"memory {n}" for n in range(510, 520)}
    assert found == exact


async def test_rare_term_of_the_nearest_does_not_lengthen_the_scan(scope: _Scope) -> None:
    scope.cosines[500:520] = 0.9
    for n in range(500, 520):
        scope.contents[n] = f"needle {n}"
    await scope.fill()
    query = scope.query(Ranking(0.7, 1_000.0, mode="lexical"), "needle")
    assert await scope.scanned_rows(query) == 1  # the memory of this moment


async def test_rank_fusion_scans_all_it_may(scope: _Scope) -> None:
    scope.cosines[500:510] = 0.9
    for n in range(500, 600):
        scope.contents[n] = f"needle {n}"
    await scope.fill()
    query = scope.query(Ranking(0.7, 1_000.0, fusion="rrf"), "needle")
    assert await scope.scanned_rows(query) == _NEWEST
    exact, found = await scope.exact_and_found(
        scope.query(Ranking(0.1, 10.0, fusion="rrf"), "needle")
    )
    # Ranks are counted among fewer memories, which reorders neighbours.
    assert len({hit.id for hit in found} & {hit.id for hit in exact}) >= 8


async def test_scan_may_reach_back_beyond_the_first_date(scope: _Scope) -> None:
    """With importance only and a half-life of a million days, hits may be older than any date."""
    scope.importances[:] = 0.9
    await scope.fill()
    query = scope.query(Ranking(0.7, 1_000_000.0, importance_weight=0.5, mode="semantic"))
    exact, found = await scope.exact_and_found(query)
    assert len(found) == len(exact) == 10


async def test_scan_reads_all_memories_if_the_index_finds_fewer_than_top_k(scope: _Scope) -> None:
    """Most memories are removed from the index, so that the last hit's score is unknown."""
    scope.cosines[500:510] = 0.9
    await scope.fill()
    async with scope.pool.acquire() as connection:
        await connection.execute("update memories set indexed = false where content < 'memory 5'")
    query = scope.query(Ranking(0.7, 1_000.0, mode="semantic"), top_k=800)
    assert await scope.scanned_rows(query) == _ROWS
    hits = await scope.hits(query, _LARGE)
    assert len(hits) == 800
