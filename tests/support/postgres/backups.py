"""Helpers for the tests of backups: fill a database, back it up, compare it before and after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.domain.memories import MemoryPatch, NewMemory, WriteKey
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.backup import tables
from serve_app.operations.backup.backup import write_backup
from serve_app.operations.backup.files import read_manifest
from serve_app.operations.backup.restore import load_backup
from serve_app.operations.database import LEAVE_TIMEOUT_S
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.databases import connected
from tests.support.postgres.memories import fill, put_in_index, sentences, unit_vectors

SETTINGS = StoreSettings()
_PG_DUMP_WAITS = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name = 'pg_dump' and wait_event_type = 'Lock'
"""
AS_OF = datetime.now(UTC)
RANKINGS = [
    Ranking(),
    Ranking(0.3, 5.0, 0.4),
    Ranking(1.0, mode="lexical"),
    Ranking(0.9, mode="semantic"),
    Ranking(0.9, fusion="rrf"),
]
QUERIES = list(zip(sentences(5, words=5), unit_vectors(5), strict=True))


@asynccontextmanager
async def open_store(dsn: str, settings: StoreSettings = SETTINGS) -> AsyncIterator[PostgresStore]:
    pool = Pool(dsn, settings)
    try:
        yield build_store(pool, settings)
    finally:
        await pool.close()


async def rows(dsn: str, statement: str, *args: object) -> list[tuple[Any, ...]]:
    async with connected(dsn) as connection:
        return [tuple(row) for row in await connection.fetch(statement, *args)]


async def all_rows(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table of memex, as text."""
    return {
        table: await rows(dsn, f"select t::text from {table} t order by 1")
        for table in tables.TABLES
    }


@dataclass(frozen=True)
class ClientView:
    """Everything that clients can read from a database."""

    searches: list[list[tuple[Any, ...]]]
    listing: list[Any]
    counts: list[int]


async def client_view(dsn: str, settings: StoreSettings = SETTINGS) -> ClientView:
    async with open_store(dsn, settings) as store:
        generation = await store.generations.adopt_generation(IDENTITY)
        searches = []
        for text, vector in QUERIES:
            for ranking in RANKINGS:
                for filters in (
                    SearchFilters(),
                    SearchFilters(metadata=parse_filter({"even": True})),
                ):
                    query = SearchQuery("agent", "user", text, 20, ranking, filters, AS_OF)
                    hits = await store.searches.search(query, vector, generation, None)
                    searches.append([(hit.id, hit.score, hit.content) for hit in hits])
        listing = (await store.memories.list_page("agent", None, page_size=200)).memories
        counts = [
            await store.memories.count("agent", user) for user in (None, "user", "other", "nobody")
        ]
    assert all(searches)
    return ClientView(searches, listing, counts)


async def fill_database(dsn: str) -> None:
    """Insert 161 memories in two scopes; one is then changed, one is written under a write key."""
    async with open_store(dsn) as store:
        memories, _, generation = await fill(store, 150, contents=sentences(150))
        await fill(store, 10, "other", contents=sentences(10))
        await put_in_index(store)
        odd = 'tab\t, line\n, \\. and \\N, "quoted", ünïcödé 🦊'
        patch = MemoryPatch(content=odd, metadata={"odd": [odd, None, 1.5]})
        await store.memories.update(
            "agent", memories[3].id, patch, unit_vectors(1)[0], generation, None
        )
        await store.inserts.insert_once(
            [NewMemory(uuid7(), "agent", "other", "under a key")],
            unit_vectors(1),
            generation,
            None,
            WriteKey("key", b"f" * 32),
        )


def no_progress(_what: str, _done: int, _total: int) -> None:
    pass


async def back_up(dsn: str, folder: Path, keep: int = 7) -> Path:
    return (await write_backup(dsn, SETTINGS, folder, keep))[0]


async def restore(
    dsn: str, dump: Path, replace: bool = False, leave_timeout_s: float = LEAVE_TIMEOUT_S
) -> None:
    manifest = read_manifest(dump)
    await load_backup(dsn, SETTINGS, dump, manifest, replace, no_progress, leave_timeout_s)


@asynccontextmanager
async def blocked_pg_dump(dsn: str) -> AsyncIterator[None]:
    """Hold a lock that makes pg_dump wait."""
    async with connected(dsn) as connection, connection.transaction():
        await connection.execute("lock table document_frequencies")
        yield


async def until_pg_dump_waits(dsn: str, waits: bool) -> None:
    """Wait until pg_dump waits for a lock, or, if `waits` is false, until it does not."""
    async with asyncio.timeout(20):
        while bool((await rows(dsn, _PG_DUMP_WAITS))[0][0]) != waits:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
