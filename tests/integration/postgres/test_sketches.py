"""Sketches of the memories of large scopes: that they follow their memories, and what a search by
them finds."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import pytest

from deployments.domain.ids import uuid7
from deployments.domain.summaries import Condensation
from deployments.domain.types import (
    Expiry,
    Memory,
    MemoryPatch,
    MemoryType,
    ModelIdentity,
    NewMemory,
    Ranking,
    SearchCall,
    SearchFilters,
    SearchQuery,
)
from deployments.store.candidates import Population
from deployments.store.large_search import LargeSearch
from deployments.store.lexicon import Lexicon
from deployments.store.pool import Pool
from deployments.store.queries import sql
from deployments.store.repository import PostgresMemoryStore
from deployments.store.search import Search
from deployments.store.settings import SearchSettings, StoreSettings
from deployments.store.sketches import add_sketches
from deployments.store.vector_index import VectorIndex
from tests.integration.postgres.data import (
    RANDOM,
    explain,
    fill,
    put_in_index,
    sentences,
    unit_vectors,
)
from tests.integration.postgres.test_reembedding import SAME_WIDTH, WIDER, Model, move

# What there should be, from the memories themselves.
DIFFERENCES = """
with expected as (
    select key as sketch_key, m.created_at, m.id as memory_id, m.importance::real, m.memory_type,
        m.expires_at, binary_quantize(m.embedding)::varbit as signs
    from memories m, jsonb_each(m.metadata) as e (name, value),
        sketch_key(m.agent_id, m.user_id, e.name, e.value) as key
    where m.indexed and m.superseded_by is null and jsonb_typeof(e.value) not in ('object', 'array')
)
select (select count(*) from expected) as expected,
    (select count(*) from (table expected except table memory_sketches) as x) as missing,
    (select count(*) from (table memory_sketches except table expected) as x) as left_over
"""
FEW = StoreSettings(exact_search_rows=500)


async def sketches(pool: Pool) -> int:
    """How many there are; all that there should be, and no others."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(DIFFERENCES)
    assert (row["missing"], row["left_over"]) == (0, 0)
    return int(row["expected"])


async def has_sketches(pool: Pool, user: str = "user") -> bool | None:
    async with pool.acquire() as connection:
        return (await connection.fetchrow(sql("listed_scope"), "agent", user))["has_sketches"]


async def forget_sketches(pool: Pool) -> None:
    """As a database of before there were any has none."""
    async with pool.acquire() as connection:
        await connection.execute("delete from memory_sketches")
        await connection.execute("update indexed_scopes set has_sketches = false")


@pytest.fixture
async def made(dsn: str) -> AsyncIterator[tuple[list[str], PostgresMemoryStore]]:
    """A store, and the names of the statements that its searches made."""
    names: list[str] = []

    def observe(name: str, _duration_s: float) -> None:
        if name.startswith("search"):
            names.append(name)

    pool = Pool(dsn, FEW, observe=observe)
    yield names, PostgresMemoryStore(pool, FEW)
    await pool.close()


@pytest.fixture
def few_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few for a scope that a test can fill as there are for a really large one."""
    monkeypatch.setattr("deployments.store.candidates._LIKELY", 100)
    monkeypatch.setattr("deployments.store.candidates._LIKELY_WITHOUT_AGE", 200)


def marked(count: int, **marks: Any) -> list[NewMemory]:
    return [
        NewMemory(uuid7(), "agent", "user", f"{marks} {n}", metadata=marks) for n in range(count)
    ]


async def listed(store: PostgresMemoryStore, user: str = "user") -> None:
    async with store._pool.acquire() as connection:
        await connection.execute(sql("list_scope"), "agent", user)
    await store.fill_vector_index()


async def test_small_scopes_have_none(pool: Pool, postgres_store: PostgresMemoryStore) -> None:
    await fill(postgres_store, 20)
    assert await sketches(pool) == 0


async def test_sketches_follow_their_memories(pool: Pool) -> None:
    store = PostgresMemoryStore(pool, FEW, dedup="touch")
    stored, vectors, generation = await fill(store, 20)
    await listed(store)
    assert await sketches(pool) == 20
    marks = {"a": 1, "b": "x", "c": None, "d": [1], "e": {"f": 1}}
    more = marked(5, **marks)
    await store.insert(more, unit_vectors(5), generation, None)
    assert await sketches(pool) == 35  # three of each: lists and objects have none

    async def patch(memory: Memory, **changes: Any) -> None:
        vector = unit_vectors(1)[0] if "content" in changes else None
        await store.update("agent", memory.id, MemoryPatch(**changes), vector, generation, None)

    await patch(stored[0], content="another")
    await patch(stored[1], importance=1.7)
    await patch(stored[2], memory_type=MemoryType.PROCEDURAL)
    await patch(stored[3], metadata={"even": 3, "odd": True})
    await patch(stored[4], metadata={})
    assert await sketches(pool) == 35
    again = NewMemory(
        uuid7(), "agent", "user", stored[5].content, stored[5].importance,
        stored[5].memory_type, stored[5].metadata,
    )  # fmt: skip
    await store.insert([again], vectors[:1], generation, None)  # touched: it is newer
    assert await sketches(pool) == 35
    await store.delete("agent", stored[6].id)
    assert await sketches(pool) == 34
    await patch(stored[7], expiry=Expiry(datetime.now(UTC) - timedelta(1)))
    assert await sketches(pool) == 34
    await store.purge_expired()
    assert await sketches(pool) == 33
    assert await store.forget("agent", "user")
    assert await sketches(pool) == 0


async def test_what_is_condensed_has_none_until_it_is_given_back(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    stored, _, generation = await fill(postgres_store, 20)
    await listed(postgres_store)
    summary = NewMemory(uuid7(), "agent", "user", "all of them", metadata={"summary": True})
    sources = [(memory.id, memory.updated_at) for memory in stored[:8]]
    condensation = Condensation(summary, unit_vectors(1)[0], generation, sources)
    assert await postgres_store.condense(condensation)
    assert await sketches(pool) == 13
    await postgres_store.restore("agent", summary.id)
    assert await sketches(pool) == 20


async def test_what_was_there_before_gets_its_sketches_later(
    pool: Pool, dsn: str, made: tuple[list[str], PostgresMemoryStore]
) -> None:
    """And not while somebody has it. Until then its scope is searched without."""
    names, store = made
    _, vectors, generation = await fill(store, 1_200)
    await put_in_index(store)
    await store.insert(marked(5, rare=1), vectors[:5], generation, None)
    await forget_sketches(pool)
    query = SearchQuery("agent", "user", "q", 10, filters=SearchFilters(metadata={"rare": 1}))
    assert len(await store.search(query, vectors[0], generation, None)) == 5
    slow = await asyncpg.connect(dsn)
    try:
        async with slow.transaction():
            await slow.execute("select from memories where agent_id = 'agent' limit 1 for update")
            await store.fill_vector_index()
            assert await has_sketches(pool) is False
    finally:
        await slow.close()
    assert len(await store.search(query, vectors[0], generation, None)) == 5
    await store.fill_vector_index()
    assert await has_sketches(pool) is True
    assert await sketches(pool) == 1_205
    assert len(await store.search(query, vectors[0], generation, None)) == 5
    assert names == ["search_whole_of_few"] * 2 + ["search_sketched"]


@pytest.mark.parametrize("identity", [SAME_WIDTH, WIDER], ids=str)
async def test_another_model_has_sketches_of_its_own(
    pool: Pool, dsn: str, made: tuple[list[str], PostgresMemoryStore], identity: ModelIdentity
) -> None:
    names, store = made
    _, vectors, generation = await fill(store, 700)
    await put_in_index(store)
    await store.insert(marked(5, rare=1), vectors[:5], generation, None)
    await move(dsn, model := Model(identity))
    async with pool.acquire() as connection:
        assert not await connection.fetchval("select exists (select from memory_sketches)")
    assert await has_sketches(pool) is False
    generation = await store.adopt_generation(identity)
    vector = (await model.embed(["{'rare': 1} 3"], "passage", identity))[0]
    query = SearchQuery("agent", "user", "q", 1, filters=SearchFilters(metadata={"rare": 1}))
    for _ in range(2):
        hits = await store.search(query, vector, generation, None)
        assert [hit.content for hit in hits] == ["{'rare': 1} 3"]
        await store.fill_vector_index()
    assert names == ["search_whole_of_few", "search_sketched"]
    assert await sketches(pool) == 705


async def test_sketches_of_a_model_that_has_gone_are_not_taken_for_whole(
    pool: Pool, postgres_store: PostgresMemoryStore
) -> None:
    """Where memories were moved to another while they were made."""
    _, _, generation = await fill(postgres_store, 5)
    await listed(postgres_store)
    await forget_sketches(pool)
    async with pool.acquire() as connection:
        for number, expected in ((generation + 1, False), (generation, True)):
            await connection.execute(sql("scope_has_sketches"), "agent", "user", number)
            assert await has_sketches(pool) is expected


async def test_a_switch_that_is_under_way_is_seen(
    pool: Pool, dsn: str, postgres_store: PostgresMemoryStore
) -> None:
    """By whoever has just made the last of the old model's sketches."""
    _, _, generation = await fill(postgres_store, 5)
    await listed(postgres_store)
    switch = await asyncpg.connect(dsn)
    try:
        async with pool.acquire() as connection:
            await switch.execute("begin")
            await switch.execute("lock table memories in access exclusive mode")
            await switch.execute("update indexed_scopes set has_sketches = false")
            await switch.execute("delete from embedding_generations")
            arguments = "agent", "user", generation
            late = asyncio.create_task(connection.execute(sql("scope_has_sketches"), *arguments))
            await asyncio.sleep(0.3)
            assert not late.done()
            await switch.execute("truncate memory_sketches")
            await switch.execute("commit")
            await late
    finally:
        await switch.close()
    assert await has_sketches(pool) is False


async def test_many_stores_make_them_at_once(pool: Pool, dsn: str) -> None:
    store = PostgresMemoryStore(pool, FEW)
    await fill(store, 1_200)
    await put_in_index(store)
    await forget_sketches(pool)
    other = Pool(dsn, FEW)
    try:
        await asyncio.gather(*(add_sketches(each) for each in (pool, other)))
    finally:
        await other.close()
    assert await has_sketches(pool) is True
    assert await sketches(pool) == 1_200


@pytest.mark.usefixtures("few_likely")
async def test_a_search_by_sketches_finds_what_scoring_all_finds(
    postgres_store: PostgresMemoryStore, made: tuple[list[str], PostgresMemoryStore]
) -> None:
    names, store = made
    sketching = PostgresMemoryStore(store._pool, StoreSettings(exact_search_rows=2_000))
    query_vector = unit_vectors(1)[0]
    likeness = RANDOM.uniform(0, 1, size=(3_000, 1)).astype(np.float32)
    vectors = likeness * query_vector + (1 - likeness) * unit_vectors(3_000)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, _, generation = await fill(sketching, 3_000, vectors=vectors, contents=sentences(3_000))
    await put_in_index(sketching)
    now = datetime.now(UTC)
    queries = [
        (text, filters, as_of)
        for text in sentences(3, words=6)
        for filters, as_of in (
            (SearchFilters(), None),
            (SearchFilters(), now - timedelta(hours=900)),
            (SearchFilters(created_after=now - timedelta(hours=1_400)), None),
            (SearchFilters(created_before=now - timedelta(hours=600)), None),
            (SearchFilters(min_score=0.1), None),
        )
    ]
    for ranking in (
        Ranking(1.0, mode="semantic"),
        Ranking(0.0, 10.0, mode="semantic"),
        Ranking(0.0, 0.001, mode="semantic"),  # equally old, but for which are the newest
        Ranking(mode="semantic"),
        Ranking(0.5, 5.0, 0.4, mode="semantic"),
        Ranking(),
        Ranking(0.9, 100.0, lexical_weight=0.2),
    ):
        found = total = 0
        names.clear()
        for text, filters, as_of in queries:
            filters = replace(filters, metadata={"even": True})
            query = SearchQuery("agent", "user", text, 10, ranking, filters, as_of or now)
            want = await postgres_store.search(query, query_vector, generation, None)
            have = await sketching.search(query, query_vector, generation, None)
            assert len(have) == len(want)
            found += len({hit.id for hit in want} & {hit.id for hit in have})
            total += len(want)
        assert total
        assert found / total >= 0.97, ranking
        assert "search_sketched" in names


async def test_all_are_found_where_they_are_few(
    postgres_store: PostgresMemoryStore, made: tuple[list[str], PostgresMemoryStore]
) -> None:
    """By type as well, and none that is over."""
    names, store = made
    _, vectors, generation = await fill(store, 700)
    over = datetime.now(UTC) - timedelta(1)
    types = MemoryType.EPISODIC, MemoryType.PROCEDURAL
    rare = [
        replace(memory, memory_type=types[n % 2], expires_at=over if n > 35 else None)
        for n, memory in enumerate(marked(40, rare=True))
    ]
    await store.insert(rare, unit_vectors(40), generation, None)
    await put_in_index(store)
    for ranking in (Ranking(), Ranking(1.0), Ranking(mode="semantic")):
        for memory_type, count in ((None, 36), (MemoryType.PROCEDURAL, 18)):
            filters = SearchFilters(memory_type, {"rare": True})
            query = SearchQuery("agent", "user", "rare 3", 50, ranking, filters)
            query = replace(query, as_of=datetime.now(UTC) + timedelta(seconds=1))
            want = await postgres_store.search(query, vectors[0], generation, None)
            assert len(want) == count
            assert await store.search(query, vectors[0], generation, None) == want
    assert names == ["search_sketched"] * 6


async def test_values_are_compared_as_filters_compare_them(
    made: tuple[list[str], PostgresMemoryStore],
) -> None:
    names, store = made
    _, vectors, generation = await fill(store, 700)
    values = [1, 1.0, "1", True, None, "", [1], {"a": 1}, 12345678901234567890, "é"]
    for value in values:
        await store.insert(marked(1, v=value), vectors[:1], generation, None)
    await put_in_index(store)
    sought = [(1, 2), (1.0, 2), ("1", 1), (True, 1), (False, 0), (None, 1), ("", 1), ("é", 1)]
    for value, count in [*sought, (12345678901234567890, 1)]:
        query = SearchQuery("agent", "user", "q", 10, filters=SearchFilters(metadata={"v": value}))
        hits = await store.search(query, vectors[0], generation, None)
        assert [hit.metadata["v"] for hit in hits] == [value] * count
    assert set(names) == {"search_sketched"}


async def test_a_sketch_of_another_scope_or_value_is_no_hit(
    pool: Pool, made: tuple[list[str], PostgresMemoryStore]
) -> None:
    """As if hashes were alike."""
    names, store = made
    _, vectors, generation = await fill(store, 700)
    (own,) = await store.insert(marked(1, rare=1), vectors[:1], generation, None)
    elsewhere = [("agent", "user", 2), ("agent", "other", 1), ("other", "user", 1)]
    other = [
        NewMemory(uuid7(), agent, user, "not to be seen", metadata={"rare": value})
        for agent, user, value in elsewhere
    ]
    for memory in other:
        await store.insert([memory], vectors[:1], generation, None)
    await put_in_index(store)
    query = SearchQuery("agent", "user", "q", 10, filters=SearchFilters(metadata={"rare": 1}))
    async with pool.acquire() as connection:
        for memory in other:
            await connection.execute(
                "insert into memory_sketches select sketch_key('agent', 'user', 'rare', '1'), "
                "created_at, id, importance, memory_type, expires_at, binary_quantize(embedding) "
                "from memories where id = $1",
                memory.id,
            )
    hits = await store.search(query, vectors[0], generation, None)
    assert [hit.id for hit in hits] == [own.id]
    assert names == ["search_sketched"]


@pytest.mark.parametrize("passed_over", [100, 10])
async def test_words_are_looked_up_farther_where_few_of_their_memories_are_left(
    made: tuple[list[str], PostgresMemoryStore],
    monkeypatch: pytest.MonkeyPatch,
    passed_over: int,
) -> None:
    """The second word, of 60 memories: the filter leaves the one that is farthest away."""
    monkeypatch.setattr("deployments.store.candidates._LIKELY_WITHOUT_AGE", 10)
    monkeypatch.setattr("deployments.store.large_search.POSTINGS", 10)
    monkeypatch.setattr("deployments.store.large_search.POSTINGS_PASSED_OVER", passed_over)

    async def guessed(*_: object) -> int:
        return 30

    monkeypatch.setattr("deployments.store.population._expected_rows", guessed)
    names, store = made
    query_vector = unit_vectors(1)[0]
    _, _, generation = await fill(store, 700)
    others = [NewMemory(uuid7(), "agent", "user", f"a needle {n}") for n in range(59)]
    others.append(NewMemory(uuid7(), "agent", "user", "a haystack"))
    await store.insert(others, unit_vectors(60), generation, None)
    await store.insert(marked(40, rare=1), unit_vectors(40), generation, None)
    far = NewMemory(uuid7(), "agent", "user", "that needle", metadata={"rare": 1})
    await store.insert([far], -query_vector[None], generation, None)
    await put_in_index(store)
    filters = SearchFilters(metadata={"rare": 1})
    ranking = Ranking(1.0, lexical_weight=10)
    query = SearchQuery("agent", "user", "haystack needle", 3, ranking, filters)
    hits = await store.search(query, query_vector, generation, None)
    assert (hits[0].content == "that needle") is (passed_over == 100)
    assert names == ["search_sketched"]


async def test_nothing_but_the_index_of_sketches_is_read_of_them(pool: Pool) -> None:
    store = PostgresMemoryStore(pool, FEW)
    _, vectors, _ = await fill(store, 3_000, contents=sentences(3_000))
    await put_in_index(store)
    async with pool.acquire() as connection:
        await connection.execute("vacuum analyze memory_sketches")
    filters = SearchFilters(metadata={"even": True})
    call = SearchCall(SearchQuery("agent", "user", "q", filters=filters), vectors[0], 1, None)
    search = Search(FEW, Lexicon(SearchSettings()), VectorIndex(100))
    async with pool.acquire() as connection:
        (prepared,) = await search.prepare(connection, [call])
    large = LargeSearch(StoreSettings(exact_search_rows=2_000), VectorIndex(100))
    statement, arguments = large.by_sketches(prepared, Population(*[3_000] * 4))
    plan = await explain(pool, statement, *arguments)
    assert "Index Only Scan" in plan
    assert "on memory_sketches" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("ranking", [Ranking(mode="lexical"), Ranking(0.9, fusion="rrf")], ids=str)
async def test_words_alone_and_ranks_have_all_scored(
    made: tuple[list[str], PostgresMemoryStore], ranking: Ranking
) -> None:
    names, store = made
    _, vectors, generation = await fill(store, 700)
    await store.insert(marked(40, rare=1), unit_vectors(40), generation, None)
    await put_in_index(store)
    filters = SearchFilters(metadata={"rare": 1})
    query = SearchQuery("agent", "user", "rare 7", 50, ranking, filters)
    assert len(await store.search(query, vectors[0], generation, None)) == 40
    assert names == ["search_whole_of_few"]
