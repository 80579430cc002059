"""Summaries in Postgres: concurrency, broken connections, deletion, retention, plans."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from deployments.domain.errors import Superseded
from deployments.domain.memories import ListFilters, Memory, MemoryPatch, MemoryType, NewMemory
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.sql import name_of, sql
from deployments.store.store import PostgresStore, build_store
from deployments.summariser.passes import Passes
from deployments.summariser.settings import SummarizationSettings
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.frequencies import recounted_frequencies, stored_frequencies
from tests.support.postgres.memories import explain, fill, unit_vectors
from tests.support.summaries import passes_over

_KILL_CONNECTION = "select pg_terminate_backend(pg_backend_pid())"
SETTINGS = SummarizationSettings(threshold=10, batch_size=5)
START = datetime(2025, 1, 1, tzinfo=UTC)


def passes(store: PostgresStore) -> Passes:
    return passes_over(store, SETTINGS)


async def add(store: PostgresStore, count: int, user: str = "user") -> list[Memory]:
    """Insert memories that each have a term of their own, `secretN`."""
    generation = await store.generations.adopt_generation(IDENTITY)
    memories = [
        NewMemory(
            uuid7(),
            "agent",
            user,
            f"The secret{n} of house{n} lies in garden{n}.",
            created_at=START + timedelta(hours=n),
        )
        for n in range(count)
    ]
    return await store.inserts.insert(memories, unit_vectors(count), generation, None)


async def rows_with(pool: Pool, text: str) -> Counter[str]:
    """How many rows of each table have the text in any column; tables without any are left out."""
    counts: Counter[str] = Counter()
    async with pool.acquire() as connection:
        tables = await connection.fetch(
            "select relname from pg_class where relkind = 'r' "
            "and relnamespace = 'public'::regnamespace"
        )
        for (table,) in tables:
            count = await connection.fetchval(
                f"select count(*) from {table} as t where to_jsonb(t)::text like $1", f"%{text}%"
            )
            if count:
                counts[table] = count
    return counts


@pytest.fixture
async def stores(dsn: str) -> AsyncIterator[list[PostgresStore]]:
    pools = [Pool(dsn, StoreSettings()) for _ in range(3)]
    yield [build_store(pool, StoreSettings()) for pool in pools]
    for pool in pools:
        await pool.close()


async def test_concurrent_passes_condense_each_memory_once(stores: list[PostgresStore]) -> None:
    memories = [await add(stores[0], 60, user) for user in ("ana", "ben")]
    reports = await asyncio.gather(*(passes(store).run() for store in stores * 2))
    assert sum(report.failed for report in reports) == 0
    for _ in range(10):  # a pass that came second leaves its scope to the next pass
        await passes(stores[0]).run()
    assert sum(report.memories for report in reports) <= 100
    for user, stored in zip(("ana", "ben"), memories, strict=True):
        page = await stores[0].memories.list_page("agent", user, page_size=200)
        summaries = [m for m in page.memories if m.memory_type is MemoryType.SEMANTIC]
        sources = [
            source
            for summary in summaries
            for source in await stores[0].summaries.sources("agent", summary.id) or []
        ]
        remaining = [m for m in page.memories if m.memory_type is MemoryType.EPISODIC]
        assert len(remaining) == 10
        assert sorted(m.id for m in sources + remaining) == sorted(m.id for m in stored)
        assert len(summaries) == 10


@pytest.mark.parametrize("name", ["lock_scope", "leave_as_it_is", "supersede"])
async def test_connection_lost_while_condensing_changes_nothing(
    pool: Pool, postgres_store: PostgresStore, name: str
) -> None:
    memories = await add(postgres_store, 11)

    class Connection:
        """Closes itself in place of the statement `name`."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, attribute: str) -> Any:
            if attribute not in ("execute", "fetchval"):
                return getattr(self._inner, attribute)

            async def call(statement: str, *args: Any) -> Any:
                if name_of(statement) == name:
                    return await self._inner.execute(_KILL_CONNECTION)
                return await getattr(self._inner, attribute)(statement, *args)

            return call

    class BreakingPool:
        def acquire(self) -> Any:
            context = pool.acquire()

            class Wrapped:
                async def __aenter__(self) -> Connection:
                    return Connection(await context.__aenter__())

                async def __aexit__(self, *error: Any) -> Any:
                    return await context.__aexit__(*error)

            return Wrapped()

    breaking_store = build_store(cast(Pool, BreakingPool()), StoreSettings())
    report = await passes(breaking_store).run()
    assert report.failed == 1
    page = await postgres_store.memories.list_page("agent", "user", page_size=200)
    assert page.memories == memories[::-1]
    assert (await passes(postgres_store).run()).memories == 5
    assert await postgres_store.memories.count("agent", "user", include_superseded=True) == 12


async def test_no_table_keeps_text_of_a_deleted_source(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    memories = await add(postgres_store, 11)
    patch = MemoryPatch(content="The secret0 of house0 lies elsewhere.")
    await postgres_store.memories.update("agent", memories[0].id, patch, embed_words("x"), 1, None)
    await passes(postgres_store).run()
    assert await rows_with(pool, "secret0") == {"memories": 2, "memory_versions": 1}
    assert await postgres_store.memories.delete("agent", memories[0].id)
    assert await rows_with(pool, "secret0") == {}
    assert await rows_with(pool, "secret1 ") == {"memories": 1}
    await passes(postgres_store).run()
    assert await postgres_store.memories.count("agent", "user") == 10


async def test_no_table_keeps_text_of_a_deleted_summary_or_forgotten_scope(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await add(postgres_store, 16)
    await passes(postgres_store).run()
    oldest = (await postgres_store.memories.list_page("agent", "user", page_size=200)).memories[-1]
    assert await rows_with(pool, "secret0 ") == {"memories": 2}
    assert await postgres_store.memories.delete("agent", oldest.id)
    assert await rows_with(pool, "secret0 ") == {}
    await postgres_store.memories.forget("agent", "user")
    assert await rows_with(pool, "secret") == {}


async def test_scope_forgotten_while_it_is_condensed_is_empty(stores: list[PostgresStore]) -> None:
    """Whichever call comes first, no summary of forgotten memories remains."""
    rng = random.Random(3)
    for _ in range(15):
        await add(stores[0], 21)

        async def forget() -> None:
            await asyncio.sleep(rng.uniform(0, 0.03))
            await stores[1].memories.forget("agent", "user")

        await asyncio.gather(passes(stores[0]).run(), passes(stores[2]).run(), forget())
        assert await stores[0].memories.count("agent", None, include_superseded=True) == 0


async def test_deletions_and_changes_while_condensing_affect_no_other_memory(
    stores: list[PostgresStore],
) -> None:
    rng = random.Random(4)
    for _ in range(6):
        memories = await add(stores[0], 30)
        deleted = rng.sample(memories, 8)
        changed = [memory for memory in memories if memory not in deleted][:8]

        async def delete(memory: Memory) -> None:
            await asyncio.sleep(rng.uniform(0, 0.05))
            assert await stores[1].memories.delete("agent", memory.id)

        async def change(memory: Memory) -> None:
            await asyncio.sleep(rng.uniform(0, 0.05))
            with contextlib.suppress(Superseded):
                patch = MemoryPatch(importance=2)
                await stores[2].memories.update("agent", memory.id, patch, None, None, None)

        reports = await asyncio.gather(
            passes(stores[0]).run(),
            passes(stores[2]).run(),
            *map(delete, deleted),
            *map(change, changed),
        )
        first, second = reports[:2]
        assert first is not None
        assert second is not None
        assert (first.failed, second.failed) == (0, 0)
        page = await stores[0].memories.list_page(
            "agent", "user", page_size=200, filters=ListFilters(include_superseded=True)
        )
        episodic = {m.id for m in page.memories if m.memory_type is MemoryType.EPISODIC}
        assert episodic == {m.id for m in memories} - {m.id for m in deleted}
        summaries = [m for m in page.memories if m.memory_type is MemoryType.SEMANTIC]
        deleted_words = {memory.content.split()[1] for memory in deleted}
        for summary in summaries:
            assert not deleted_words & set(summary.content.split())
            assert await stores[0].summaries.sources("agent", summary.id)
        await stores[0].memories.forget("agent", "user")


async def test_document_frequencies_leave_out_superseded_memories(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await add(postgres_store, 30)
    await passes(postgres_store).run()
    page = await postgres_store.memories.list_page(
        "agent", "user", page_size=200, filters=ListFilters(memory_type=MemoryType.SEMANTIC)
    )
    first, second, *_ = page.memories
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    await postgres_store.summaries.restore("agent", first.id)
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    sources = await postgres_store.summaries.sources("agent", second.id)
    assert sources
    await postgres_store.memories.delete("agent", sources[0].id)
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    before = await stored_frequencies(pool)
    await postgres_store.upkeep.reindex(lambda _done, _total: None)
    assert await stored_frequencies(pool) == before


async def test_retention_deletes_sources_and_keeps_summaries(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await add(postgres_store, 21)
    await passes(postgres_store).run()
    settings = SummarizationSettings(threshold=10, batch_size=5, retention_days=1)
    retaining = passes_over(postgres_store, settings)
    assert await retaining.purge() == 0
    summary = (
        await postgres_store.memories.list_page(
            "agent", "user", page_size=1, filters=ListFilters(memory_type=MemoryType.SEMANTIC)
        )
    ).memories[0]
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set superseded_at = now() - interval '2 days' "
            "where superseded_by = $1",
            summary.id,
        )
    assert await retaining.purge() == 5
    assert await retaining.purge() == 0
    assert await postgres_store.summaries.sources("agent", summary.id) == []
    assert await postgres_store.memories.get("agent", summary.id) == summary
    assert (
        await postgres_store.memories.count("agent", "user", include_superseded=True) == 21 + 3 - 5
    )


async def test_scopes_to_condense_are_read_from_the_index_only(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    for n in range(30):
        await fill(postgres_store, 60, f"user {n:02}")
    async with pool.acquire() as connection:
        await connection.execute("vacuum memories")
    plan = await explain(
        pool,
        *sql.scopes_to_condense(after_agent_id="", after_user_id="", threshold=50, max_scopes=500),
    )
    assert "Index Only Scan using memories_condensable" in plan
    assert "Seq Scan" not in plan
    scopes = await postgres_store.condensing.scopes_to_condense(("", ""), 59, 500)
    assert [scope.user_id for scope in scopes] == [f"user {n:02}" for n in range(30)]
    assert all(scope.is_due for scope in scopes)
    scopes = await postgres_store.condensing.scopes_to_condense(("", ""), 60, 500)
    assert not any(scope.is_due for scope in scopes)
    plan = await explain(
        pool,
        *sql.oldest_condensable(agent_id="agent", user_id="user 07", threshold=50, max_rows=20),
    )
    assert "memories_condensable" in plan
    assert "Sort" not in plan
