"""How far back the newest of a large scope are looked through, and which are candidates."""

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


_FEW_CANDIDATES = SearchTuning(most_newest=_NEWEST, least_newest=_NEWEST)
# A word that more than ten memories have is not one of the rare ones.
_WORDS_ARE_SOON_COMMON = replace(_FEW_CANDIDATES, lexical=10, lexical_of_rarest=10)


class _Scope:
    """A thousand memories, an hour between one and the next, the newest first."""

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
        beside = unit_vectors(_ROWS)
        beside -= np.outer(beside @ self.query_vector, self.query_vector)
        beside /= np.linalg.norm(beside, axis=1, keepdims=True)
        vectors = np.outer(self.cosines, self.query_vector)
        vectors += np.sqrt(1 - self.cosines**2)[:, None] * beside
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
        """Twenty memories of the middle are near and have a word, among others."""
        self.cosines[500:520] = np.linspace(0.7, 0.9, 20)
        for n in range(500, 520):
            self.contents[n] = f"needle in a stack of hay {n}"

    def query(self, ranking: Ranking, text: str = "q", top_k: int = 10) -> SearchQuery:
        return SearchQuery("agent", "user", text, top_k, ranking, as_of=self._now)

    async def hits(self, query: SearchQuery, settings: StoreSettings) -> list[Memory]:
        store = build_store(self.pool, settings, tuning=Tuning(search=self.tuning))
        return await store.searches.search(query, self.query_vector, self._generation, None)

    async def exact_and_found(
        self, query: SearchQuery
    ) -> tuple[Sequence[Memory], Sequence[Memory]]:
        return await self.hits(query, StoreSettings()), await self.hits(query, _LARGE)

    async def looked_through(self, query: SearchQuery) -> int:
        """How many of the newest the statement reads."""
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
def words_are_soon_common(scope: _Scope) -> None:
    scope.tuning = _WORDS_ARE_SOON_COMMON


async def test_the_better_the_nearest_are_the_fewer_of_the_newest_are_read(scope: _Scope) -> None:
    """Ten memories have a cosine of 0.4 to 0.9, the others of 0: of those, one scores 0.3 at most,
    and as much as the last of the ten only where it is new enough."""
    scope.cosines[500:510] = np.linspace(0.4, 0.9, 10)
    await scope.fill()
    read = []
    for half_life_days in (2.0, 10.0, 1_000.0):
        query = scope.query(Ranking(0.7, half_life_days, mode="semantic"))
        exact, found = await scope.exact_and_found(query)
        assert found == exact
        read.append(await scope.looked_through(query))
    # The last of the ten scores 0.28, 0.35 and 0.58: as much as others of 0.2 half-lives, and none.
    least_hours = 24 * 2.0 * -np.log2(0.28 / 0.3)
    assert least_hours <= read[0] <= 4 * least_hours
    assert read[1:] == [1, 1]  # the one of this moment


async def test_as_many_as_are_sought_are_read_where_nothing_is_near(scope: _Scope) -> None:
    await scope.fill()
    for half_life_days in (0.001, 30.0):
        query = scope.query(Ranking(0.7, half_life_days, mode="semantic"))
        assert await scope.looked_through(query) == _NEWEST
    exact, found = await scope.exact_and_found(query)
    assert [hit.score for hit in found] == [hit.score for hit in exact]


async def test_what_is_important_is_found_among_the_newest(scope: _Scope) -> None:
    scope.cosines[500:520] = 0.5
    scope.importances[100] = 2.0
    scope.cosines[100] = -0.1
    await scope.fill()
    query = scope.query(Ranking(0.7, 1.0, importance_weight=0.5, mode="semantic"))
    exact, found = await scope.exact_and_found(query)
    assert exact[0].content == found[0].content == "memory 100"


@pytest.mark.parametrize("ranking", [Ranking(0.0, 30.0), Ranking(1.0, mode="semantic")], ids=str)
async def test_where_one_thing_counts_the_best_by_it_are_found(
    scope: _Scope, ranking: Ranking
) -> None:
    scope.cosines[500:550] = np.linspace(0.1, 0.9, 50)
    await scope.fill()
    query = scope.query(ranking)
    exact, found = await scope.exact_and_found(query)
    assert [hit.score for hit in found] == [hit.score for hit in exact]


@pytest.mark.usefixtures("words_are_soon_common")
@pytest.mark.parametrize(
    "ranking",
    [Ranking(0.9, 30.0, mode="lexical"), Ranking(0.9, 30.0, lexical_weight=2.0)],
    ids=["lexical", "hybrid"],
)
async def test_a_common_word_that_none_of_the_nearest_has_is_found_among_the_newest(
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


@pytest.mark.usefixtures("words_are_soon_common")
async def test_the_best_of_a_word_may_be_among_the_newest(scope: _Scope) -> None:
    """It is no hit itself, but what the hits' words are worth depends on it."""
    scope.put_needles_near()
    scope.contents[0], scope.cosines[0] = "needle", -0.9
    await scope.fill()
    exact, found = await scope.exact_and_found(scope.query(Ranking(0.9, 30.0), "needle"))
    assert "needle" not in {hit.content for hit in exact}
    assert found == exact


async def test_the_best_of_a_rare_word_need_not_be_a_hit(scope: _Scope) -> None:
    """What the hits' words are worth depends on it all the same."""
    scope.put_needles_near()
    scope.contents[900], scope.cosines[900] = "needle", -0.9
    await scope.fill()
    exact, found = await scope.exact_and_found(scope.query(Ranking(0.9, 30.0), "needle"))
    assert "needle" not in {hit.content for hit in exact}
    assert found == exact


@pytest.mark.usefixtures("words_are_soon_common")
async def test_words_that_are_worth_less_than_they_seemed_let_others_pass(scope: _Scope) -> None:
    """Ten memories have the word and others are nearer: which are the hits is told by one of the
    newest that has more of it, and is none itself."""
    stack = " ".join(f"hay{n}" for n in range(60))
    for n in range(500, 510):
        scope.contents[n], scope.cosines[n] = f"needle {stack}", 0.5
    scope.cosines[510:520] = 0.7
    scope.contents[0], scope.cosines[0] = "needle needle needle", -0.9
    await scope.fill()
    exact, found = await scope.exact_and_found(scope.query(Ranking(0.9, 30.0), "needle"))
    assert {hit.content for hit in exact} == {f"memory {n}" for n in range(510, 520)}
    assert found == exact


async def test_rare_words_of_the_nearest_tell_nothing_of_others(scope: _Scope) -> None:
    scope.cosines[500:520] = 0.9
    for n in range(500, 520):
        scope.contents[n] = f"needle {n}"
    await scope.fill()
    query = scope.query(Ranking(0.7, 1_000.0, mode="lexical"), "needle")
    assert await scope.looked_through(query) == 1  # the one of this moment


async def test_where_ranks_are_fused_all_the_newest_are_candidates(scope: _Scope) -> None:
    scope.cosines[500:510] = 0.9
    for n in range(500, 600):
        scope.contents[n] = f"needle {n}"
    await scope.fill()
    query = scope.query(Ranking(0.7, 1_000.0, fusion="rrf"), "needle")
    assert await scope.looked_through(query) == _NEWEST
    exact, found = await scope.exact_and_found(
        scope.query(Ranking(0.1, 10.0, fusion="rrf"), "needle")
    )
    # Ranks are counted among fewer, which moves scores of neighbours past one another.
    assert len({hit.id for hit in found} & {hit.id for hit in exact}) >= 8


async def test_how_far_back_that_is_may_be_farther_than_dates_go(scope: _Scope) -> None:
    """By importance alone: of a million days of half-life, hits may be as old as any calendar."""
    scope.importances[:] = 0.9
    await scope.fill()
    query = scope.query(Ranking(0.7, 1_000_000.0, importance_weight=0.5, mode="semantic"))
    exact, found = await scope.exact_and_found(query)
    assert len(found) == len(exact) == 10


async def test_all_are_candidates_where_there_are_fewer_than_are_asked_for(scope: _Scope) -> None:
    """As if the index missed most: nothing tells what the last hit has."""
    scope.cosines[500:510] = 0.9
    await scope.fill()
    async with scope.pool.acquire() as connection:
        await connection.execute("update memories set indexed = false where content < 'memory 5'")
    query = scope.query(Ranking(0.7, 1_000.0, mode="semantic"), top_k=800)
    assert await scope.looked_through(query) == _ROWS
    hits = await scope.hits(query, _LARGE)
    assert len(hits) == 800
