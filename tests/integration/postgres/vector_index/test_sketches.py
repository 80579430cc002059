"""Sketches of the memories of large scopes: that they follow their memories."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.memories import Expiry, Memory, MemoryPatch, MemoryType, NewMemory
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.domain.summaries import Condensation
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from deployments.store.vector_index.sketches import add_sketches
from tests.support.postgres.memories import (
    FEW,
    RecordingStore,
    fill,
    marked,
    put_in_index,
    unit_vectors,
)
from tests.support.postgres.reembedding import SAME_WIDTH, WIDER, Model, move

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


async def sketches(pool: Pool) -> int:
    """How many there are; all that there should be, and no others."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(DIFFERENCES)
    assert (row["missing"], row["left_over"]) == (0, 0)
    return int(row["expected"])


async def has_sketches(pool: Pool, user: str = "user") -> bool | None:
    async with pool.acquire() as connection:
        row = await connection.fetchrow(*sql.listed_scope(agent_id="agent", user_id=user))
        value: bool | None = row["has_sketches"]
        return value


async def forget_sketches(pool: Pool) -> None:
    """As a database of before there were any has none."""
    async with pool.acquire() as connection:
        await connection.execute("delete from memory_sketches")
        await connection.execute("update indexed_scopes set has_sketches = false")


async def listed(store: PostgresStore, user: str = "user") -> None:
    async with store.pool.acquire() as connection:
        await connection.execute(*sql.list_scope(agent_id="agent", user_id=user))
    await store.upkeep.fill_vector_index()


async def test_small_scopes_have_none(pool: Pool, postgres_store: PostgresStore) -> None:
    await fill(postgres_store, 20)
    assert await sketches(pool) == 0


async def test_sketches_follow_their_memories(pool: Pool) -> None:
    store = build_store(pool, FEW, dedup="touch")
    stored, vectors, generation = await fill(store, 20)
    await listed(store)
    assert await sketches(pool) == 20
    marks = {"a": 1, "b": "x", "c": None, "d": [1], "e": {"f": 1}}
    more = marked(5, **marks)
    await store.inserts.insert(more, unit_vectors(5), generation, None)
    assert await sketches(pool) == 35  # three of each: lists and objects have none

    async def patch(memory: Memory, **changes: Any) -> None:
        vector = unit_vectors(1)[0] if "content" in changes else None
        await store.memories.update(
            "agent", memory.id, MemoryPatch(**changes), vector, generation, None
        )

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
    await store.inserts.insert([again], vectors[:1], generation, None)  # touched: it is newer
    assert await sketches(pool) == 35
    await store.memories.delete("agent", stored[6].id)
    assert await sketches(pool) == 34
    await patch(stored[7], expiry=Expiry(datetime.now(UTC) - timedelta(1)))
    assert await sketches(pool) == 34
    await store.upkeep.purge_expired()
    assert await sketches(pool) == 33
    assert await store.memories.forget("agent", "user")
    assert await sketches(pool) == 0


async def test_what_is_condensed_has_none_until_it_is_given_back(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    stored, _, generation = await fill(postgres_store, 20)
    await listed(postgres_store)
    summary = NewMemory(uuid7(), "agent", "user", "all of them", metadata={"summary": True})
    sources = [(memory.id, memory.updated_at) for memory in stored[:8]]
    condensation = Condensation(summary, unit_vectors(1)[0], generation, sources)
    assert await postgres_store.condensing.condense(condensation)
    assert await sketches(pool) == 13
    await postgres_store.summaries.restore("agent", summary.id)
    assert await sketches(pool) == 20


async def test_what_was_there_before_gets_its_sketches_later(
    pool: Pool, dsn: str, recording_store: RecordingStore
) -> None:
    """And not while somebody has it. Until then its scope is searched without."""
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 1_200)
    await put_in_index(store)
    await store.inserts.insert(marked(5, rare=1), vectors[:5], generation, None)
    await forget_sketches(pool)
    query = SearchQuery("agent", "user", "q", 10, filters=SearchFilters(metadata={"rare": 1}))
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 5
    slow = await asyncpg.connect(dsn)
    try:
        async with slow.transaction():
            await slow.execute("select from memories where agent_id = 'agent' limit 1 for update")
            await store.upkeep.fill_vector_index()
            assert await has_sketches(pool) is False
    finally:
        await slow.close()
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 5
    await store.upkeep.fill_vector_index()
    assert await has_sketches(pool) is True
    assert await sketches(pool) == 1_205
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 5
    assert names == ["search_whole_of_few"] * 2 + ["search_sketched"]


@pytest.mark.parametrize("identity", [SAME_WIDTH, WIDER], ids=str)
async def test_another_model_has_sketches_of_its_own(
    pool: Pool, dsn: str, recording_store: RecordingStore, identity: ModelIdentity
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    await put_in_index(store)
    await store.inserts.insert(marked(5, rare=1), vectors[:5], generation, None)
    await move(dsn, model := Model(identity))
    async with pool.acquire() as connection:
        assert not await connection.fetchval("select exists (select from memory_sketches)")
    assert await has_sketches(pool) is False
    generation = await store.generations.adopt_generation(identity)
    vector = (await model.embed(["{'rare': 1} 3"], "passage", identity))[0]
    query = SearchQuery("agent", "user", "q", 1, filters=SearchFilters(metadata={"rare": 1}))
    for _ in range(2):
        hits = await store.searches.search(query, vector, generation, None)
        assert [hit.content for hit in hits] == ["{'rare': 1} 3"]
        await store.upkeep.fill_vector_index()
    assert names == ["search_whole_of_few", "search_sketched"]
    assert await sketches(pool) == 705


async def test_sketches_of_a_model_that_has_gone_are_not_taken_for_whole(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """Where memories were moved to another while they were made."""
    _, _, generation = await fill(postgres_store, 5)
    await listed(postgres_store)
    await forget_sketches(pool)
    async with pool.acquire() as connection:
        for number, expected in ((generation + 1, False), (generation, True)):
            await connection.execute(
                *sql.scope_has_sketches(agent_id="agent", user_id="user", generation=number)
            )
            assert await has_sketches(pool) is expected


async def test_a_switch_that_is_under_way_is_seen(
    pool: Pool, dsn: str, postgres_store: PostgresStore
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
            statement = sql.scope_has_sketches(
                agent_id="agent", user_id="user", generation=generation
            )
            late = asyncio.create_task(connection.execute(*statement))
            await asyncio.sleep(0.3)
            assert not late.done()
            await switch.execute("truncate memory_sketches")
            await switch.execute("commit")
            await late
    finally:
        await switch.close()
    assert await has_sketches(pool) is False


async def test_many_stores_make_them_at_once(pool: Pool, dsn: str) -> None:
    store = build_store(pool, FEW)
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
