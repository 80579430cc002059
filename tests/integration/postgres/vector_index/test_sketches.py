"""Sketches of the memories of large scopes: they follow every change of their memories."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.memories import Expiry, Memory, MemoryPatch, MemoryType, NewMemory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.domain.summaries import Condensation
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from deployments.store.vector_index.sketches import add_sketches
from tests.support.postgres.memories import (
    LARGE_FROM_500,
    RecordingStore,
    fill,
    memories_with_metadata,
    put_in_index,
    unit_vectors,
)
from tests.support.postgres.reembedding import SAME_WIDTH, WIDER, Model, reembed

# Compares the sketches with those computed from the memories.
DIFFERENCES = """
with expected as (
    select distinct key as sketch_key, m.created_at, m.id as memory_id, m.importance::real,
        m.memory_type, m.expires_at, binary_quantize(m.embedding)::varbit as signs
    from memories m, jsonb_path_query(m.metadata, '$.keyvalue()') as e,
        jsonb_path_query(e -> 'value', '$[*]') as value,
        sketch_key(m.agent_id, m.user_id, e ->> 'key', value) as key
    where m.indexed and m.superseded_by is null and jsonb_typeof(value) not in ('object', 'array')
)
select (select count(*) from expected) as expected,
    (select count(*) from (table expected except table memory_sketches) as x) as missing,
    (select count(*) from (table memory_sketches except table expected) as x) as left_over
"""


async def count_checked_sketches(pool: Pool) -> int:
    """The number of sketches, after a check that none is missing or left over."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(DIFFERENCES)
    assert (row["missing"], row["left_over"]) == (0, 0)
    return int(row["expected"])


async def has_sketches(pool: Pool, user: str = "user") -> bool | None:
    async with pool.acquire() as connection:
        row = await connection.fetchrow(*sql.listed_scope(agent_id="agent", user_id=user))
        value: bool | None = row["has_sketches"]
        return value


async def delete_sketches(pool: Pool) -> None:
    """Make the database as it was before the migration that added sketches."""
    async with pool.acquire() as connection:
        await connection.execute("delete from memory_sketches")
        await connection.execute("update indexed_scopes set has_sketches = false")


async def index_scope(store: PostgresStore, user: str = "user") -> None:
    async with store.pool.acquire() as connection:
        await connection.execute(*sql.list_scope(agent_id="agent", user_id=user))
    await store.upkeep.fill_vector_index()


async def test_small_scopes_have_no_sketches(pool: Pool, postgres_store: PostgresStore) -> None:
    await fill(postgres_store, 20)
    assert await count_checked_sketches(pool) == 0


async def test_sketches_follow_their_memories(pool: Pool) -> None:
    store = build_store(pool, LARGE_FROM_500, dedup="touch")
    stored, vectors, generation = await fill(store, 20)
    await index_scope(store)
    assert await count_checked_sketches(pool) == 20
    metadata = {"a": 1, "b": None, "c": [2, [3], {"f": 1}, 2.0], "d": [], "e": {"f": 1}}
    new = memories_with_metadata(5, **metadata)
    await store.inserts.insert(new, unit_vectors(5), generation, None)
    assert await count_checked_sketches(pool) == 35  # three each: none of objects and inner lists

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
    assert await count_checked_sketches(pool) == 35
    identical = NewMemory(
        uuid7(), "agent", "user", stored[5].content, stored[5].importance,
        stored[5].memory_type, stored[5].metadata,
    )  # fmt: skip
    await store.inserts.insert([identical], vectors[:1], generation, None)  # touches it
    assert await count_checked_sketches(pool) == 35
    await store.memories.delete("agent", stored[6].id)
    assert await count_checked_sketches(pool) == 34
    await patch(stored[7], expiry=Expiry(datetime.now(UTC) - timedelta(days=1)))
    assert await count_checked_sketches(pool) == 34
    await store.upkeep.purge_expired()
    assert await count_checked_sketches(pool) == 33
    assert await store.memories.forget("agent", "user")
    assert await count_checked_sketches(pool) == 0


async def test_superseded_memories_have_no_sketches_until_restored(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    stored, _, generation = await fill(postgres_store, 20)
    await index_scope(postgres_store)
    summary = NewMemory(uuid7(), "agent", "user", "all of them", metadata={"summary": True})
    sources = [(memory.id, memory.updated_at) for memory in stored[:8]]
    condensation = Condensation(summary, unit_vectors(1)[0], generation, sources)
    assert await postgres_store.condensing.condense(condensation)
    assert await count_checked_sketches(pool) == 13
    await postgres_store.summaries.restore("agent", summary.id)
    assert await count_checked_sketches(pool) == 20


async def test_index_job_adds_missing_sketches_of_memories_that_are_not_locked(
    pool: Pool, dsn: str, recording_store: RecordingStore
) -> None:
    """Until all are added, searches of the scope do not use sketches."""
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 1_200)
    await put_in_index(store)
    await store.inserts.insert(memories_with_metadata(5, rare=1), vectors[:5], generation, None)
    await delete_sketches(pool)
    query = SearchQuery(
        "agent", "user", "q", 10, filters=SearchFilters(metadata=parse_filter({"rare": 1}))
    )
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 5
    writer = await asyncpg.connect(dsn)
    try:
        async with writer.transaction():
            await writer.execute("select from memories where agent_id = 'agent' limit 1 for update")
            await store.upkeep.fill_vector_index()
            assert await has_sketches(pool) is False
    finally:
        await writer.close()
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 5
    await store.upkeep.fill_vector_index()
    assert await has_sketches(pool) is True
    assert await count_checked_sketches(pool) == 1_205
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 5
    assert names == ["search_whole_of_few"] * 2 + ["search_sketched"]


@pytest.mark.parametrize("identity", [SAME_WIDTH, WIDER], ids=str)
async def test_reembedding_replaces_the_sketches(
    pool: Pool, dsn: str, recording_store: RecordingStore, identity: ModelIdentity
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    await put_in_index(store)
    await store.inserts.insert(memories_with_metadata(5, rare=1), vectors[:5], generation, None)
    await reembed(dsn, model := Model(identity))
    async with pool.acquire() as connection:
        assert not await connection.fetchval("select exists (select from memory_sketches)")
    assert await has_sketches(pool) is False
    generation = await store.generations.adopt_generation(identity)
    vector = (await model.embed(["{'rare': 1} 3"], "passage", identity))[0]
    query = SearchQuery(
        "agent", "user", "q", 1, filters=SearchFilters(metadata=parse_filter({"rare": 1}))
    )
    for _ in range(2):
        hits = await store.searches.search(query, vector, generation, None)
        assert [hit.content for hit in hits] == ["{'rare': 1} 3"]
        await store.upkeep.fill_vector_index()
    assert names == ["search_whole_of_few", "search_sketched"]
    assert await count_checked_sketches(pool) == 705


async def test_sketches_of_a_retired_generation_do_not_mark_the_scope_complete(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """The memories may be re-embedded while their sketches are made."""
    _, _, generation = await fill(postgres_store, 5)
    await index_scope(postgres_store)
    await delete_sketches(pool)
    async with pool.acquire() as connection:
        for sketched, expected in ((generation + 1, False), (generation, True)):
            await connection.execute(
                *sql.scope_has_sketches(agent_id="agent", user_id="user", generation=sketched)
            )
            assert await has_sketches(pool) is expected


async def test_marking_a_scope_complete_waits_for_a_running_switch(
    pool: Pool, dsn: str, postgres_store: PostgresStore
) -> None:
    """The session that has just made the last sketch of the old model must see the switch."""
    _, _, generation = await fill(postgres_store, 5)
    await index_scope(postgres_store)
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
            marking = asyncio.create_task(connection.execute(*statement))
            await asyncio.sleep(0.3)
            assert not marking.done()
            await switch.execute("truncate memory_sketches")
            await switch.execute("commit")
            await marking
    finally:
        await switch.close()
    assert await has_sketches(pool) is False


async def test_two_stores_can_add_sketches_at_once(pool: Pool, dsn: str) -> None:
    store = build_store(pool, LARGE_FROM_500)
    await fill(store, 1_200)
    await put_in_index(store)
    await delete_sketches(pool)
    other = Pool(dsn, LARGE_FROM_500)
    try:
        await asyncio.gather(add_sketches(pool), add_sketches(other))
    finally:
        await other.close()
    assert await has_sketches(pool) is True
    assert await count_checked_sketches(pool) == 1_200
