"""Exports on Postgres: connections are released, their number is bounded, pages use an index."""

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
    """A store that exports pages of two memories."""
    return build_store(pool, StoreSettings(), tuning=Tuning(export_page_rows=2))


async def count_idle_transactions(pool: Pool) -> int:
    """How many sessions of this database are idle in a transaction."""
    async with pool.acquire() as connection:
        count: int = await connection.fetchval(
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and state like 'idle in transaction%'"
        )
    return count


async def until_idle_transactions_are(count: int, pool: Pool) -> None:
    for _ in range(200):
        if await count_idle_transactions(pool) == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"idle transactions: {await count_idle_transactions(pool)}")


async def test_completed_closed_and_cancelled_exports_release_their_connection(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, ROWS)
    all_pages = [page async for page in postgres_store.transfers.export("agent", None)]
    assert await count_idle_transactions(pool) == 0
    assert len(all_pages) > 2

    pages = postgres_store.transfers.export("agent", None)
    await anext(pages)
    assert await count_idle_transactions(pool) == 1
    await pages.aclose()
    assert await count_idle_transactions(pool) == 0

    async def read(pages: AsyncGenerator[ExportPage, None]) -> None:
        async for _page in pages:
            await asyncio.sleep(60)

    pages = postgres_store.transfers.export("agent", None)
    task = asyncio.create_task(read(pages))
    await until_idle_transactions_are(1, pool)
    task.cancel()
    await asyncio.wait([task])
    await pages.aclose()
    assert await count_idle_transactions(pool) == 0
    pages = postgres_store.transfers.export("agent", None)
    assert len([page async for page in pages]) == len(all_pages)


async def test_third_concurrent_export_is_refused(
    pool: Pool, postgres_store: PostgresStore
) -> None:
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


async def test_export_whose_reader_is_idle_is_ended(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, ROWS)
    exports = Exports(pool, StoreSettings(), lambda _operation, _count: None, idle_s=0.2)
    idle = [exports.pages("agent", None) for _ in range(2)]
    for pages in idle:
        await anext(pages)
    assert await count_idle_transactions(pool) == 2
    await until_idle_transactions_are(0, pool)
    # They no longer count as running, although their readers have not closed them.
    new = [exports.pages("agent", None) for _ in range(2)]
    for pages in new:
        await anext(pages)
        await pages.aclose()
    for pages in idle:
        with pytest.raises(Unavailable):
            await anext(pages)


@pytest.mark.parametrize("user", [None, "user"])
async def test_export_pages_are_read_in_index_order_without_a_sort(
    pool: Pool, postgres_store: PostgresStore, user: str | None
) -> None:
    memories, _, _ = await fill(postgres_store, 2_000)
    middle = sorted(memories, key=lambda memory: (memory.created_at, memory.id))[1_000]
    after = PageKey(middle.created_at, middle.id)
    filters = ListFilters(include_superseded=True)
    plan = await explain(pool, *list_statement("agent", user, filters, after, 10))
    assert "Index Scan using memories_" in plan
    assert "-> Sort" not in re.sub(" +", " ", plan)
    assert "Rows Removed" not in plan


async def test_known_ids_use_the_primary_key(pool: Pool, postgres_store: PostgresStore) -> None:
    memories, _, _ = await fill(postgres_store, 2_000)
    ids = [memory.id for memory in memories[:128]]
    assert "memories_pkey" in await explain(pool, *sql.known_ids(agent_id="agent", ids=ids))
