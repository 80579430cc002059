"""Filling the vector index while other sessions read and write."""

import asyncio
import random

import asyncpg
import pytest

from deployments.domain.errors import Unavailable
from deployments.domain.memories import MemoryPatch, NewMemory
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from deployments.store.vector_index.index import VectorIndex
from tests.support.postgres.indexing import LARGE_FROM_100, indexed_flags, is_filled, new_memories
from tests.support.postgres.memories import fill, put_in_index, sentences


async def test_filling_waits_for_writers_that_began_before_the_scope_was_listed(
    pool: Pool, dsn: str, store: PostgresStore
) -> None:
    """They may have read the list of large scopes before the scope was in it."""
    await fill(store, 20)
    writer = await asyncpg.connect(dsn)
    try:
        async with writer.transaction():
            await writer.execute(
                "insert into memories (id, agent_id, user_id, content, embedding, importance, "
                "memory_type, metadata, created_at, updated_at) select gen_random_uuid(), "
                "agent_id, user_id, 'late', embedding, 1, 'episodic', '{}', created_at, now() "
                "from memories where agent_id = 'agent' limit 1"
            )
            async with pool.acquire() as connection:
                await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
            for _ in range(3):
                await store.upkeep.fill_vector_index()
            assert await indexed_flags(pool) == [True] * 20
            assert await is_filled(pool) is False
        await store.upkeep.fill_vector_index()
    finally:
        await writer.close()
    assert await indexed_flags(pool) == [True] * 21
    assert await is_filled(pool) is True


async def test_long_transaction_that_delays_filling_is_logged_once(
    pool: Pool, dsn: str, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(store, 20)
    index = VectorIndex(LARGE_FROM_100.exact_search_rows, patience_s=0.2)
    idle = await asyncpg.connect(dsn)
    try:
        async with idle.transaction():
            await idle.execute("select from memories limit 1")
            async with pool.acquire() as connection:
                await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
            await index.fill(pool)
            assert not caplog.records
            await asyncio.sleep(0.2)
            await index.fill(pool)
            await index.fill(pool)
            (message,) = caplog.messages
            assert f"Postgres process {idle.get_server_pid()}" in message
        await index.fill(pool)
    finally:
        await idle.close()
    assert await is_filled(pool) is True


async def test_locked_memories_are_indexed_by_the_next_run(
    pool: Pool, dsn: str, store: PostgresStore
) -> None:
    await fill(store, 20)
    async with pool.acquire() as connection:
        await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
    other = await asyncpg.connect(dsn)
    try:
        async with other.transaction():
            await other.execute(
                "select from memories where agent_id = 'agent' order by id limit 5 for update"
            )
            await store.upkeep.fill_vector_index()
            assert await indexed_flags(pool) == [False] * 5 + [True] * 15
            assert await is_filled(pool) is False
        await store.upkeep.fill_vector_index()
    finally:
        await other.close()
    assert await is_filled(pool) is True
    assert await indexed_flags(pool) == [True] * 20


async def test_failing_scope_does_not_stop_the_other_scopes(
    pool: Pool, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("first", "second", "third"):
        await fill(store, 20, user)
        async with pool.acquire() as connection:
            await connection.execute(*sql.list_scope(agent_id="agent", user_id=user))
    original = VectorIndex._pass

    async def failing(self: VectorIndex, pool: Pool, agent_id: str, user_id: str) -> bool:
        if user_id == "first":
            raise Unavailable("database")
        return await original(self, pool, agent_id, user_id)

    monkeypatch.setattr(VectorIndex, "_pass", failing)
    with pytest.raises(Unavailable):
        await store.upkeep.fill_vector_index()
    assert [await is_filled(pool, user) for user in ("first", "second", "third")] == [
        False, True, True,
    ]  # fmt: skip


async def test_filling_while_memories_are_written_indexes_all_of_them(pool: Pool) -> None:
    store = build_store(pool, LARGE_FROM_100, dedup="touch")
    stored, vectors, generation = await fill(store, 600, contents=sentences(600))
    rng = random.Random(3)

    async def write(part: int) -> None:
        for n, memory in enumerate(stored[part::4]):
            await asyncio.sleep(rng.uniform(0, 0.004))
            match n % 4:
                case 0:
                    await store.inserts.insert(new_memories(2), vectors[:2], generation, None)
                case 1:
                    patch = MemoryPatch(content=f"{memory.content}, changed")
                    await store.memories.update(
                        "agent", memory.id, patch, vectors[n], generation, None
                    )
                case 2:
                    await store.memories.delete("agent", memory.id)
                case _:
                    identical = NewMemory(
                        uuid7(), "agent", "user", memory.content, memory.importance,
                        memory.memory_type, memory.metadata,
                    )  # fmt: skip
                    await store.inserts.insert([identical], vectors[n : n + 1], generation, None)

    async def fill_until_complete() -> None:
        await asyncio.sleep(0.05)
        async with pool.acquire() as connection:
            await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
        while not await is_filled(pool):
            await store.upkeep.fill_vector_index()
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(write, range(4)), *(fill_until_complete() for _ in range(2)))
    assert all(await indexed_flags(pool))


async def test_forgotten_scope_is_no_longer_listed(pool: Pool, store: PostgresStore) -> None:
    await fill(store, 20)
    await fill(store, 20, "other")
    await put_in_index(store)
    await put_in_index(store, "other")
    await store.memories.forget("agent", "user")
    assert await is_filled(pool) is None
    assert await is_filled(pool, "other") is True
    await fill(store, 20)
    assert await indexed_flags(pool) == [False] * 20
