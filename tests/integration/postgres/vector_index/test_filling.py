"""Filling the index of vectors beside those who write and read."""

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
from tests.support.postgres.indexing import LARGE, indexed, is_filled, memories
from tests.support.postgres.memories import fill, put_in_index, sentences


async def test_writers_that_had_begun_before_are_waited_for(
    pool: Pool, dsn: str, store: PostgresStore
) -> None:
    """They may have looked at the list before the scope was in it."""
    await fill(store, 20)
    slow = await asyncpg.connect(dsn)
    try:
        async with slow.transaction():
            await slow.execute(
                "insert into memories (id, agent_id, user_id, content, embedding, importance, "
                "memory_type, metadata, created_at, updated_at) select gen_random_uuid(), "
                "agent_id, user_id, 'late', embedding, 1, 'episodic', '{}', created_at, now() "
                "from memories where agent_id = 'agent' limit 1"
            )
            async with pool.acquire() as connection:
                await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
            for _ in range(3):
                await store.upkeep.fill_vector_index()
            assert await indexed(pool) == [True] * 20
            assert await is_filled(pool) is False
        await store.upkeep.fill_vector_index()
    finally:
        await slow.close()
    assert await indexed(pool) == [True] * 21
    assert await is_filled(pool) is True


async def test_who_is_waited_for_long_is_told_once(
    pool: Pool, dsn: str, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(store, 20)
    index = VectorIndex(LARGE.exact_search_rows, patience_s=0.2)
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
            (line,) = caplog.messages
            assert f"Postgres process {idle.get_server_pid()}" in line
        await index.fill(pool)
    finally:
        await idle.close()
    assert await is_filled(pool) is True


async def test_memories_in_use_are_come_back_to(pool: Pool, dsn: str, store: PostgresStore) -> None:
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
            assert await indexed(pool) == [False] * 5 + [True] * 15
            assert await is_filled(pool) is False
        await store.upkeep.fill_vector_index()
    finally:
        await other.close()
    assert await is_filled(pool) is True
    assert await indexed(pool) == [True] * 20


async def test_a_scope_that_fails_does_not_hold_up_the_others(
    pool: Pool, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("first", "second", "third"):
        await fill(store, 20, user)
        async with pool.acquire() as connection:
            await connection.execute(*sql.list_scope(agent_id="agent", user_id=user))
    real = VectorIndex._pass

    async def failing(self: VectorIndex, pool: Pool, agent_id: str, user_id: str) -> bool:
        if user_id == "first":
            raise Unavailable("database")
        return await real(self, pool, agent_id, user_id)

    monkeypatch.setattr(VectorIndex, "_pass", failing)
    with pytest.raises(Unavailable):
        await store.upkeep.fill_vector_index()
    assert [await is_filled(pool, user) for user in ("first", "second", "third")] == [
        False, True, True,
    ]  # fmt: skip


async def test_filling_beside_everything_else_leaves_nothing_out(pool: Pool) -> None:
    store = build_store(pool, LARGE, dedup="touch")
    stored, vectors, generation = await fill(store, 600, contents=sentences(600))
    chance = random.Random(3)

    async def write(part: int) -> None:
        for n, memory in enumerate(stored[part::4]):
            await asyncio.sleep(chance.uniform(0, 0.004))
            match n % 4:
                case 0:
                    await store.inserts.insert(memories(2), vectors[:2], generation, None)
                case 1:
                    patch = MemoryPatch(content=f"{memory.content}, changed")
                    await store.memories.update(
                        "agent", memory.id, patch, vectors[n], generation, None
                    )
                case 2:
                    await store.memories.delete("agent", memory.id)
                case _:
                    same = NewMemory(
                        uuid7(), "agent", "user", memory.content, memory.importance,
                        memory.memory_type, memory.metadata,
                    )  # fmt: skip
                    await store.inserts.insert([same], vectors[n : n + 1], generation, None)

    async def fill_again_and_again() -> None:
        await asyncio.sleep(0.05)
        async with pool.acquire() as connection:
            await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
        while not await is_filled(pool):
            await store.upkeep.fill_vector_index()
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(write, range(4)), *(fill_again_and_again() for _ in range(2)))
    assert all(await indexed(pool))


async def test_a_forgotten_scope_is_no_longer_listed(pool: Pool, store: PostgresStore) -> None:
    await fill(store, 20)
    await fill(store, 20, "other")
    await put_in_index(store)
    await put_in_index(store, "other")
    await store.memories.forget("agent", "user")
    assert await is_filled(pool) is None
    assert await is_filled(pool, "other") is True
    await fill(store, 20)
    assert await indexed(pool) == [False] * 20
