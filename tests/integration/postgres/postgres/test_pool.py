"""The pool: session settings, timed statements, and databases that are down or refuse."""

import asyncio
import json

import asyncpg
import pytest

from deployments.domain.errors import BadSetting, Unavailable
from deployments.domain.memories import NewMemory
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool, connect
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.memories import fill, unit_vectors


async def test_sessions_keep_their_settings_after_release(dsn: str) -> None:
    pool = Pool(dsn, StoreSettings(min_pool_size=1, max_pool_size=1))
    for _ in range(3):
        async with pool.acquire() as connection:
            values = [
                await connection.fetchval(f"show {name}")
                for name in (
                    "hnsw.iterative_scan",
                    "hnsw.ef_search",
                    "plan_cache_mode",
                    "enable_seqscan",
                )
            ]
        assert values == ["relaxed_order", "200", "force_generic_plan", "off"]
    await pool.close()


async def test_pool_prepares_the_database_at_its_first_connection(empty_dsn: str) -> None:
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
async def test_connect_reports_refusals_as_unavailable_and_bad_addresses_as_settings(
    dsn: str, change: tuple[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await connect(dsn.replace(*change), StoreSettings())


async def test_store_recovers_when_the_database_restarts(
    postgres: EmbeddedPostgres, dsn: str
) -> None:
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


async def test_store_can_be_built_before_its_database_runs() -> None:
    store = build_store(Pool("postgresql://u@127.0.0.1:9/none", StoreSettings()), StoreSettings())
    with pytest.raises(Unavailable):
        await store.health.ping()


@pytest.mark.parametrize("dsn", ["", "mysql://u:secret@h/d", "http://[", "localhost"])
def test_bad_address_error_names_the_setting_but_not_the_address(dsn: str) -> None:
    with pytest.raises(BadSetting, match="DATABASE_URL") as error:
        Pool(dsn, StoreSettings())
    assert "secret" not in str(error.value)


async def test_metadata_is_stored_unchanged(pool: Pool, postgres_store: PostgresStore) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    metadata = json.loads('{"a": [1, 1.5, -0.5, 1e3, null, true, "\\"\\\\ü🙂"], "": {"x": []}}')
    memory = NewMemory(uuid7(), "agent", "user", "x", metadata=metadata)
    await postgres_store.inserts.insert([memory], unit_vectors(1), generation, None)
    stored = await postgres_store.memories.get("agent", memory.id)
    assert stored is not None
    assert stored.metadata == metadata


async def test_statement_timeout_is_reported_as_unavailable(dsn: str) -> None:
    pool = Pool(dsn, StoreSettings(statement_timeout_s=0.1))
    with pytest.raises(Unavailable):
        async with pool.acquire() as connection:
            await connection.fetchval("select pg_sleep(5)")
    await pool.close()


async def test_statement_error_is_not_reported_as_unavailable(pool: Pool) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        async with pool.acquire() as connection:
            await connection.fetchval("selekt")
    with pytest.raises(asyncpg.DataError, match="invalid input for query argument"):
        async with pool.acquire() as connection:
            await connection.fetchval("select $1::int", "no number")


async def test_statements_are_timed_under_their_names(dsn: str) -> None:
    durations_s: dict[str, float] = {}
    pool = Pool(dsn, StoreSettings(max_pool_size=1), observe=durations_s.__setitem__)
    try:
        assert pool.sizes() == (0, 0)
        store = build_store(pool, StoreSettings(max_pool_size=1))
        await store.generations.adopt_generation(IDENTITY)
        await fill(store, 1, vectors=embed_words("memory")[None])
        for _ in range(3):  # each time the connection is acquired again
            await store.memories.count("agent", "user")
        async with pool.acquire() as connection:
            durations_s.clear()
            await connection.fetchval("select pg_sleep(0.05)")
            assert pool.sizes() == (1, 0)
        await store.memories.count("agent", "user")
        assert pool.sizes() == (1, 1)
    finally:
        await pool.close()
    assert durations_s.keys() == {"other", "count_of_user"}
    assert durations_s["other"] >= 0.05
