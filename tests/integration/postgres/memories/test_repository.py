"""What only the Postgres store does: scopes in SQL, limits, concurrency, outages."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BadSetting, KeyInUse, MemexError, RateLimited, Unavailable
from deployments.domain.memories import InsertCall, Memory, MemoryPatch, NewMemory, WriteKey
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.memories.rate_limits import hit_each
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool, connect
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql, statements
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.memories import unit_vectors


async def test_sessions_keep_their_settings(dsn: str) -> None:
    pool = Pool(dsn, StoreSettings(min_pool_size=1, max_pool_size=1))
    for _ in range(3):
        async with pool.acquire() as connection:
            shown = [
                await connection.fetchval(f"show {name}")
                for name in (
                    "hnsw.iterative_scan",
                    "hnsw.ef_search",
                    "plan_cache_mode",
                    "enable_seqscan",
                )
            ]
        assert shown == ["relaxed_order", "200", "force_generic_plan", "off"]
    await pool.close()


async def test_purging_waits_for_nobody(pool: Pool) -> None:
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute(
            "insert into rate_limits values ('a', 'write', array[now() - interval '2 minutes'], 1)"
        )
    async with pool.acquire() as holder, pool.acquire() as other, holder.transaction():
        await holder.fetch("select from rate_limits for update")
        await asyncio.wait_for(other.execute(*sql.purge_rate_limits()), 2)
        assert await other.fetchval("select count(*) from rate_limits") == 1


async def test_the_pool_migrates_once_the_database_answers(empty_dsn: str) -> None:
    async def prepare(connection: asyncpg.Connection) -> None:
        await migrate(connection, read_migrations())

    pool = Pool(empty_dsn, StoreSettings(), prepare)
    assert await build_store(pool, StoreSettings()).memories.count("a", "u") == 0
    await pool.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("/test_", "/no_such_database_"), Unavailable),
        (("memex@", "no_such_user@"), Unavailable),
        (("?host", "?sslmode=bogus&host"), BadSetting),
    ],
)
async def test_what_keeps_us_out_is_told_from_our_own_faults(
    dsn: str, change: tuple[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await connect(dsn.replace(*change), StoreSettings())


def test_every_statement_on_memories_is_scoped() -> None:
    # These read no row of anyone's, write what is derived from a memory back to it alone, delete
    # what no statement sees any more or a setting wants gone, say where work is to be done, or give
    # the agents' ids alone.
    unscoped = {
        "has_memories",
        "count_missing_next",
        "memories_to_reembed",
        "count_outdated",
        "outdated_memories",
        "count_frequencies",
        "purge_expired",
        "purge_superseded",
        "scopes_to_condense",
        "agents",
    }
    touching = {
        name: statement.source
        for name, statement in statements().items()
        if re.search(r"\b(from|join|into|update)\s+memories\b", statement.source)
        and name not in unscoped
    }
    assert len(touching) >= 11
    for name, text in touching.items():
        for part in re.split(r"\b(?:from|join|update)\s+memories\b", text)[1:]:
            assert re.search(r"agent_id = (:agent_id|[nqs]\.agent_id)", part.split("\n)")[0]), name


async def test_the_window_slides(pool: Pool, postgres_store: PostgresStore) -> None:
    """Hits leave one by one, a minute after each: no counter that starts anew."""
    ages_s = [59.0, 40.0, 1.0]
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into rate_limits values ('agent', 'write', (select array_agg(clock_timestamp() "
            "- make_interval(secs => age) order by age desc) from unnest($1::float8[]) age), 1)",
            ages_s,
        )
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    limit = RateLimit("write", 3)

    async def write() -> None:
        memory = NewMemory(uuid7(), "agent", "u", "x")
        await postgres_store.inserts.insert([memory], unit_vectors(1), generation, limit)

    with pytest.raises(RateLimited) as refused:
        await write()
    assert refused.value.retry_after_s == pytest.approx(1.0, abs=0.5)
    await asyncio.sleep(refused.value.retry_after_s + 0.05)
    await write()
    with pytest.raises(RateLimited) as refused:
        await write()
    assert 15 < refused.value.retry_after_s < 20


async def test_a_lowered_limit_counts_from_its_own_last_hits(pool: Pool) -> None:
    async with pool.acquire() as connection:
        for _ in range(5):
            assert await hit_each(connection, [("agent", RateLimit("write", 10))]) == [None]
        (refusal,) = await hit_each(connection, [("agent", RateLimit("write", 2))])
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(60, abs=1)


async def test_calls_that_come_together_are_counted_one_by_one(pool: Pool) -> None:
    writes, searches = RateLimit("write", 3), RateLimit("search", 2)
    calls = [("a", writes), ("b", writes), ("a", None), *[("a", searches), ("a", writes)] * 3]
    async with pool.acquire() as connection:
        refusals = await hit_each(connection, calls)
        again = await hit_each(connection, [("a", writes), ("b", writes), ("a", searches)])
        none = await hit_each(connection, [])
    names = [None if refusal is None else refusal.operation for refusal in refusals]
    assert names == [None] * 3 + [None, None, None, None, "search", "write"]
    assert {refusal.retry_after_s for refusal in refusals if refusal} <= {59.9, 60.0}
    assert [refusal is not None for refusal in again] == [True, False, True]
    assert none == []


async def test_calls_in_circles_do_not_wait_for_each_other(pool: Pool) -> None:
    agents = [f"agent {n}" for n in range(20)]
    limit = RateLimit("write", 6_000)

    async def hit(names: list[str]) -> None:
        for _ in range(20):
            async with pool.acquire() as connection:
                await hit_each(connection, [(name, limit) for name in names])

    await asyncio.gather(*(hit(agents[::step]) for step in (1, -1) * 4))
    async with pool.acquire() as connection:
        counted = await connection.fetch("select cardinality(hits) as hits from rate_limits")
    assert [row["hits"] for row in counted] == [160] * 20


async def test_inserts_that_come_together(postgres_store: PostgresStore) -> None:
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
    refused = [
        isinstance(result, RateLimited)
        for result in await postgres_store.inserts.insert_each(calls)
    ]
    assert refused == [False, False, False, True, False]
    assert await postgres_store.memories.count("a", None) == 3
    repeated = await postgres_store.inserts.insert_each(
        [replace(call, rate_limit=None) for call in calls]
    )
    for call, stored in zip(calls, repeated, strict=True):
        assert not isinstance(stored, MemexError)
        assert [(m.id, m.content) for m in stored] == [(m.id, m.content) for m in call.memories]
    assert await postgres_store.memories.count("a", None) == 4
    assert await postgres_store.inserts.insert_each([]) == []


async def test_concurrent_hits_are_counted_exactly(dsn: str) -> None:
    """Two pools stand for two replicas."""
    pools = [Pool(dsn, StoreSettings()) for _ in range(2)]
    stores = [build_store(pool, StoreSettings()) for pool in pools]
    generation = await stores[0].generations.adopt_generation(IDENTITY)
    limit = RateLimit("search", 37)
    query, vector = SearchQuery("agent", "u", "q"), unit_vectors(1)[0]
    answers = await asyncio.gather(
        *(stores[n % 2].searches.search(query, vector, generation, limit) for n in range(100)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert len(refused) == 63
    assert not [a for a in answers if isinstance(a, Exception) and not isinstance(a, RateLimited)]
    for pool in pools:
        await pool.close()


async def test_a_refused_batch_takes_no_agents_hit(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    limit = RateLimit("write", 1)

    async def write(*agents: str) -> None:
        memories = [NewMemory(uuid7(), agent, "u", "x") for agent in agents]
        await postgres_store.inserts.insert(memories, unit_vectors(len(agents)), generation, limit)

    await write("b")
    with pytest.raises(RateLimited) as refused:
        await write("a", "b")
    assert refused.value.agent_id == "b"
    await write("a")


async def test_old_counters_are_purged(pool: Pool, postgres_store: PostgresStore) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into rate_limits values "
            "('old', 'write', array[now() - interval '2 minutes'], 1), "
            "('live', 'write', array[now() - interval '2 minutes', now()], 1)"
        )
        await postgres_store.upkeep.purge_rate_limits()
        left = await connection.fetch("select agent_id from rate_limits")
    assert [row["agent_id"] for row in left] == ["live"]


async def test_what_is_over_is_purged(pool: Pool, postgres_store: PostgresStore) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    over = datetime.now(UTC) - timedelta(seconds=1)
    later = over + timedelta(days=1)
    memories = [
        NewMemory(uuid7(), "agent", "user", f"m {n}", expires_at=expires_at)
        for n, expires_at in enumerate([None, over, later, over])
    ]
    vectors = np.stack([embed_words(memory.content) for memory in memories])
    await postgres_store.inserts.insert(memories, vectors, generation, None)
    async with pool.acquire() as connection, pool.acquire() as other:
        async with connection.transaction():  # one that is in use waits for the next time
            lock = "select from memories where id = $1 for update"
            await connection.execute(lock, memories[1].id)
            await asyncio.wait_for(postgres_store.upkeep.purge_expired(), 5)
        left = await other.fetch("select content from memories order by content")
        assert [row["content"] for row in left] == ["m 0", "m 1", "m 2"]
        await postgres_store.upkeep.purge_expired()
        left = await other.fetch("select content from memories order by content")
    assert [row["content"] for row in left] == ["m 0", "m 2"]


async def test_nothing_of_a_deleted_memory_is_left(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    texts = ["xylophone one", "xylophone two", "xylophone three"]
    ends = [None, None, datetime.now(UTC) + timedelta(seconds=1)]
    memories = [
        NewMemory(uuid7(), "agent", f"user {n}", text, metadata={"m": text}, expires_at=end)
        for n, (text, end) in enumerate(zip(texts, ends, strict=True))
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
            found = await connection.fetch(
                f"select * from {row['tablename']} t where t::text like '%xylophone%'"
            )
            assert found == [], row["tablename"]


async def test_many_calls_with_one_key_make_one_row(
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

    answers = await asyncio.gather(*(write() for _ in range(50)))
    stored = [answer for answer in answers if isinstance(answer, Memory)]
    assert stored
    assert all(answer == stored[0] for answer in stored)
    assert all(isinstance(answer, Memory | KeyInUse) for answer in answers)
    assert await postgres_store.memories.count("agent", None) == 1


async def test_a_key_and_its_memories_come_together(
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
        # After a day the key is free, whether it has been purged or not.
        await connection.execute(
            "update idempotency_keys set stored_at = stored_at - interval '24 hours'"
        )
        again = NewMemory(uuid7(), "agent", "user", "a fox")
        await postgres_store.inserts.insert_once(
            [again], vector, generation, None, WriteKey("k", b"2")
        )
        assert await postgres_store.memories.count("agent", None) == 2
        await postgres_store.upkeep.purge_idempotency_keys()
        assert await connection.fetchval("select count(*) from idempotency_keys") == 1
        await connection.execute(
            "update idempotency_keys set stored_at = stored_at - interval '24 hours'"
        )
        await postgres_store.upkeep.purge_idempotency_keys()
        assert await connection.fetchval("select count(*) from idempotency_keys") == 0


async def test_another_width_is_adopted_by_an_empty_table(
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


async def test_recovers_when_the_database_comes_back(postgres: EmbeddedPostgres, dsn: str) -> None:
    pool = Pool(dsn, StoreSettings(connect_timeout_s=2))
    store = build_store(pool, StoreSettings())
    await store.health.ping()
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(Unavailable):
            await store.memories.count("a", "u")
        with pytest.raises(Unavailable):
            await store.memories.count("a", "u")
    finally:
        await asyncio.to_thread(postgres.start)
    assert await store.memories.count("a", "u") == 0
    await pool.close()


async def test_a_store_may_start_before_its_database() -> None:
    store = build_store(Pool("postgresql://u@127.0.0.1:9/none", StoreSettings()), StoreSettings())
    with pytest.raises(Unavailable):
        await store.health.ping()


@pytest.mark.parametrize("dsn", ["", "mysql://u:secret@h/d", "http://[", "localhost"])
def test_a_bad_address_is_named_without_being_told(dsn: str) -> None:
    with pytest.raises(BadSetting, match="DATABASE_URL") as refused:
        Pool(dsn, StoreSettings())
    assert "secret" not in str(refused.value)


async def test_json_survives(pool: Pool, postgres_store: PostgresStore) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    metadata = json.loads('{"a": [1, 1.5, -0.5, 1e3, null, true, "\\"\\\\ü🙂"], "": {"x": []}}')
    memory = NewMemory(uuid7(), "agent", "user", "x", metadata=metadata)
    await postgres_store.inserts.insert([memory], unit_vectors(1), generation, None)
    stored = await postgres_store.memories.get("agent", memory.id)
    assert stored is not None
    assert stored.metadata == metadata


async def test_statement_timeouts_are_an_outage_not_a_fault(dsn: str) -> None:
    pool = Pool(dsn, StoreSettings(statement_timeout_s=0.1))
    with pytest.raises(Unavailable):
        async with pool.acquire() as connection:
            await connection.fetchval("select pg_sleep(5)")
    await pool.close()


async def test_faults_of_a_statement_are_not_an_outage(pool: Pool) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        async with pool.acquire() as connection:
            await connection.fetchval("selekt")
    with pytest.raises(asyncpg.DataError, match="invalid input for query argument"):
        async with pool.acquire() as connection:
            await connection.fetchval("select $1::int", "no number")
