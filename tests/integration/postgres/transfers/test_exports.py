"""Exports on Postgres: one snapshot, a bound on how many, connections that come back."""

import asyncio
import re
from collections.abc import AsyncGenerator

import pytest

from deployments.domain.errors import TooManyExports, Unavailable
from deployments.domain.memories import ExportPage, ListFilters, PageKey
from deployments.store.memories.listing import list_statement
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, Tuning, build_store
from deployments.store.transfers.exports import Exports
from tests.support.postgres.memories import explain, fill

ROWS = 20


@pytest.fixture
def postgres_store(pool: Pool) -> PostgresStore:
    """Exports in short pages."""
    return build_store(pool, StoreSettings(), tuning=Tuning(export_page_rows=2))


async def transactions(pool: Pool) -> int:
    """How many sessions of this database sit in one, doing nothing."""
    async with pool.acquire() as connection:
        count: int = await connection.fetchval(
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and state like 'idle in transaction%'"
        )
    return count


async def until_there_are(count: int, pool: Pool) -> None:
    for _ in range(200):
        if await transactions(pool) == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"there are {await transactions(pool)}")


async def test_the_connection_comes_back_however_an_export_ends(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, ROWS)
    read = [page async for page in postgres_store.transfers.export("agent", None)]
    assert await transactions(pool) == 0
    assert len(read) > 2

    closed = postgres_store.transfers.export("agent", None)
    await anext(closed)
    assert await transactions(pool) == 1
    await closed.aclose()
    assert await transactions(pool) == 0

    async def reader(pages: AsyncGenerator[ExportPage, None]) -> None:
        async for _page in pages:
            await asyncio.sleep(60)

    pages = postgres_store.transfers.export("agent", None)
    task = asyncio.create_task(reader(pages))
    await until_there_are(1, pool)
    task.cancel()
    await asyncio.wait([task])
    await pages.aclose()
    assert await transactions(pool) == 0
    assert len([page async for page in postgres_store.transfers.export("agent", None)]) == len(read)


async def test_there_is_a_bound_on_exports(pool: Pool, postgres_store: PostgresStore) -> None:
    await fill(postgres_store, ROWS)
    first, second, third = (postgres_store.transfers.export("agent", "user") for _ in range(3))
    await anext(first)
    await anext(second)
    with pytest.raises(TooManyExports, match="2 exports run already"):
        await anext(third)
    await first.aclose()
    fourth = postgres_store.transfers.export("agent", "user")
    await anext(fourth)
    await second.aclose()
    await fourth.aclose()


async def test_a_reader_that_asks_for_nothing_loses_its_export(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, ROWS)
    exports = Exports(pool, StoreSettings(), lambda _operation, _count: None, idle_s=0.2)
    left = [exports.pages("agent", None) for _ in range(2)]
    for pages in left:
        await anext(pages)
    assert await transactions(pool) == 2
    await until_there_are(0, pool)
    # Their places are free, too, though nobody has closed them.
    again = [exports.pages("agent", None) for _ in range(2)]
    for pages in again:
        await anext(pages)
        await pages.aclose()
    for pages in left:
        with pytest.raises(Unavailable):
            await anext(pages)


@pytest.mark.parametrize("user", [None, "user"])
async def test_pages_come_by_the_index_in_its_order(
    pool: Pool, postgres_store: PostgresStore, user: str | None
) -> None:
    memories, _, _ = await fill(postgres_store, 2_000)
    middle = sorted(memories, key=lambda memory: (memory.created_at, memory.id))[1_000]
    after = PageKey(middle.created_at, middle.id)
    filters = ListFilters(include_superseded=True)
    text = await explain(pool, *list_statement("agent", user, filters, after, 10))
    assert "Index Scan using memories_" in text
    assert "-> Sort" not in re.sub(" +", " ", text)
    assert "Rows Removed" not in text


async def test_known_ids_are_looked_up_by_the_primary_key(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    memories, _, _ = await fill(postgres_store, 2_000)
    ids = [memory.id for memory in memories[:128]]
    assert "memories_pkey" in await explain(pool, *sql.known_ids(agent_id="agent", ids=ids))
