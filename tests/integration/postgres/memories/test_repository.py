"""What only the Postgres store does: scopes in SQL, batches, purges, write keys, dimensions."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import KeyInUse, MemexError, RateLimited
from deployments.domain.memories import InsertCall, Memory, MemoryPatch, NewMemory, WriteKey
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql, statements
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.memories import unit_vectors


async def test_purge_of_rate_limits_skips_locked_rows(pool: Pool) -> None:
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute(
            "insert into rate_limits values ('a', 'write', array[now() - interval '2 minutes'], 1)"
        )
    async with pool.acquire() as holder, pool.acquire() as other, holder.transaction():
        await holder.fetch("select from rate_limits for update")
        await asyncio.wait_for(other.execute(*sql.purge_rate_limits()), 2)
        assert await other.fetchval("select count(*) from rate_limits") == 1


@pytest.mark.parametrize("table", ["memories", "memory_versions"])
def test_every_statement_on_memories_is_scoped(table: str) -> None:
    # These count, read memories only to write derived values back to them, delete expired or
    # superseded memories, list scopes that need work or another id, or list the agents' ids.
    unscoped = {
        "has_memories",
        "count_missing_next",
        "memories_to_reembed",
        "count_outdated",
        "outdated_memories",
        "outdated_versions",
        "count_frequencies",
        "purge_expired",
        "purge_kept",
        "purge_superseded",
        "scopes_to_condense",
        "agents",
        "uncommon_scopes",
    }
    scoped = {
        name: statement.source
        for name, statement in statements().items()
        if re.search(rf"\b(from|join|into|update)\s+{table}\b", statement.source)
        and name not in unscoped
    }
    assert len(scoped) >= (11 if table == "memories" else 6)
    for name, text in scoped.items():
        for part in re.split(rf"\b(?:from|join|update)\s+{table}\b", text)[1:]:
            assert re.search(r"agent_id = (:agent_id|[nqs]\.agent_id)", part.split("\n)")[0]), name


async def test_inserts_in_one_batch_are_limited_separately_and_can_be_repeated(
    postgres_store: PostgresStore,
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    limit = RateLimit("write", 2)
    calls = [
        InsertCall(
            [NewMemory(uuid7(), agent, "user", f"{agent} {n} {part}") for part in range(parts)],
            unit_vectors(parts),
            generation,
            limit,
        )
        for n, (agent, parts) in enumerate([("a", 1), ("b", 3), ("a", 2), ("a", 1), ("c", 1)])
    ]
    is_refused = [
        isinstance(result, RateLimited)
        for result in await postgres_store.inserts.insert_each(calls)
    ]
    assert is_refused == [False, False, False, True, False]
    assert await postgres_store.memories.count("a", None) == 3
    repeated = await postgres_store.inserts.insert_each(
        [replace(call, rate_limit=None) for call in calls]
    )
    for call, stored in zip(calls, repeated, strict=True):
        assert not isinstance(stored, MemexError)
        assert [(m.id, m.content) for m in stored] == [(m.id, m.content) for m in call.memories]
    assert await postgres_store.memories.count("a", None) == 4
    assert await postgres_store.inserts.insert_each([]) == []


async def test_purge_deletes_expired_memories_that_are_not_locked(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    past = datetime.now(UTC) - timedelta(seconds=1)
    later = past + timedelta(days=1)
    memories = [
        NewMemory(uuid7(), "agent", "user", f"m {n}", expires_at=expires_at)
        for n, expires_at in enumerate([None, past, later, past])
    ]
    vectors = np.stack([embed_words(memory.content) for memory in memories])
    await postgres_store.inserts.insert(memories, vectors, generation, None)
    async with pool.acquire() as connection, pool.acquire() as other:
        async with connection.transaction():  # a locked memory is left to the next purge
            lock = "select from memories where id = $1 for update"
            await connection.execute(lock, memories[1].id)
            await asyncio.wait_for(postgres_store.upkeep.purge_expired(), 5)
        rows = await other.fetch("select content from memories order by content")
        assert [row["content"] for row in rows] == ["m 0", "m 1", "m 2"]
        await postgres_store.upkeep.purge_expired()
        rows = await other.fetch("select content from memories order by content")
    assert [row["content"] for row in rows] == ["m 0", "m 2"]


async def test_no_table_keeps_text_of_deleted_forgotten_or_expired_memories(pool: Pool) -> None:
    """Expired ones not longer than the retention."""
    postgres_store = build_store(pool, StoreSettings(expired_retention_hours=0))
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    texts = ["xylophone one", "xylophone two", "xylophone three"]
    expiries = [None, None, datetime.now(UTC) + timedelta(seconds=1)]
    memories = [
        NewMemory(uuid7(), "agent", f"user {n}", text, metadata={"m": text}, expires_at=expires_at)
        for n, (text, expires_at) in enumerate(zip(texts, expiries, strict=True))
    ]
    vectors = np.stack([embed_words(text) for text in texts])
    await postgres_store.inserts.insert(memories, vectors, generation, None)
    for memory in memories:
        patch = MemoryPatch("something else", metadata={})
        vector = embed_words("something else")
        await postgres_store.memories.update("agent", memory.id, patch, vector, generation, None)
        assert await postgres_store.memories.history("agent", memory.id, None, 10)
    assert await postgres_store.memories.delete("agent", memories[0].id)
    assert await postgres_store.memories.forget("agent", "user 1") == 1
    await asyncio.sleep(1.1)
    await postgres_store.upkeep.purge_expired()
    async with pool.acquire() as connection:
        tables = await connection.fetch(
            "select tablename from pg_tables where schemaname = 'public'"
        )
        for row in tables:
            rows = await connection.fetch(
                f"select * from {row['tablename']} t where t::text like '%xylophone%'"
            )
            assert rows == [], row["tablename"]


async def test_concurrent_writes_under_one_key_store_one_memory(
    postgres_store: PostgresStore,
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    vector = np.stack([embed_words("a fox")])
    key = WriteKey("k", b"1")

    async def write() -> Memory | MemexError:
        memory = NewMemory(uuid7(), "agent", "user", "a fox")
        try:
            (stored,) = await postgres_store.inserts.insert_once(
                [memory], vector, generation, None, key
            )
        except MemexError as error:
            return error
        return stored

    results = await asyncio.gather(*(write() for _ in range(50)))
    memories = [result for result in results if isinstance(result, Memory)]
    assert memories
    assert all(memory == memories[0] for memory in memories)
    assert all(isinstance(result, Memory | KeyInUse) for result in results)
    assert await postgres_store.memories.count("agent", None) == 1


async def test_write_key_and_its_memories_are_one_transaction_and_the_key_expires(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    vector = np.stack([embed_words("a fox")])
    memory = NewMemory(uuid7(), "agent", "user", "a fox")
    key = WriteKey("k", b"1")
    async with pool.acquire() as connection:
        await connection.execute("alter table idempotency_keys add constraint no check (false)")
        with pytest.raises(asyncpg.CheckViolationError):
            await postgres_store.inserts.insert_once([memory], vector, generation, None, key)
        assert await postgres_store.memories.count("agent", None) == 0
        await connection.execute("alter table idempotency_keys drop constraint no")
        await postgres_store.inserts.insert_once([memory], vector, generation, None, key)
        assert await postgres_store.memories.count("agent", None) == 1
        # After a day the key can be used again, even if it has not been purged.
        await connection.execute(
            "update idempotency_keys set stored_at = stored_at - interval '24 hours'"
        )
        second = NewMemory(uuid7(), "agent", "user", "a fox")
        await postgres_store.inserts.insert_once(
            [second], vector, generation, None, WriteKey("k", b"2")
        )
        assert await postgres_store.memories.count("agent", None) == 2
        await postgres_store.upkeep.purge_idempotency_keys()
        assert await connection.fetchval("select count(*) from idempotency_keys") == 1
        await connection.execute(
            "update idempotency_keys set stored_at = stored_at - interval '24 hours'"
        )
        await postgres_store.upkeep.purge_idempotency_keys()
        assert await connection.fetchval("select count(*) from idempotency_keys") == 0


async def test_empty_table_adopts_other_dimensions(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    wide = ModelIdentity("some/wide-model", "abc", "as published", 768)
    generations = await asyncio.gather(
        *(postgres_store.generations.adopt_generation(wide) for _ in range(5))
    )
    assert len(set(generations)) == 1
    vector = np.ones((1, 768), np.float32) / np.sqrt(np.float32(768))
    memory = NewMemory(uuid7(), "agent", "user", "wide")
    await postgres_store.inserts.insert([memory], vector, generations[0], None)
    query = SearchQuery("agent", "user", "q")
    (hit,) = await postgres_store.searches.search(query, vector[0], generations[0], None)
    assert hit.content == "wide"
