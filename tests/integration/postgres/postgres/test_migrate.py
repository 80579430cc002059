"""Migrations on a real database."""

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from deployments.domain.errors import MigrationRefused
from deployments.domain.memories import MemoryPatch
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import MIGRATIONS_DIR, migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import build_store
from deployments.summariser.settings import SummarizationSettings
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.summaries import passes_over

_ONE_PROCESS = """
import asyncio, sys, asyncpg
from deployments.store.postgres.migrate import migrate, read_migrations

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    print(len(await migrate(connection, read_migrations())))

asyncio.run(main())
"""


@pytest.fixture
async def connection(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


async def test_migrate_applies_each_migration_once(connection: asyncpg.Connection) -> None:
    migrations = read_migrations()
    assert await migrate(connection, migrations) == migrations
    assert await migrate(connection, migrations) == []


def test_one_of_ten_concurrent_processes_applies_all_migrations(empty_dsn: str) -> None:
    command = [sys.executable, "-c", _ONE_PROCESS, empty_dsn]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, outputs
    applied = sorted(int(stdout) for stdout, _ in outputs)
    assert applied == [0] * 9 + [len(read_migrations())]


async def test_edited_migration_is_refused(connection: asyncpg.Connection) -> None:
    first, *rest = read_migrations()
    await migrate(connection, [first, *rest])
    edited = replace(first, checksum="0" * 64)
    with pytest.raises(MigrationRefused, match="0001_memories was changed"):
        await migrate(connection, [edited, *rest])


async def test_database_of_a_newer_version_is_refused(connection: asyncpg.Connection) -> None:
    migrations = read_migrations()
    await migrate(connection, migrations)
    with pytest.raises(MigrationRefused, match="newer"):
        await migrate(connection, migrations[:-1])


async def test_failed_migration_leaves_no_table(connection: asyncpg.Connection) -> None:
    broken = replace(read_migrations()[0], text="create table half (); select nonsense")
    with pytest.raises(asyncpg.PostgresError):
        await migrate(connection, [broken])
    assert await connection.fetchval("select to_regclass('half')") is None
    assert await connection.fetchval("select to_regclass('schema_migrations')") is None


def test_line_ends_do_not_change_the_checksum(tmp_path: Path) -> None:
    for source in MIGRATIONS_DIR.glob("*.sql"):
        (tmp_path / source.name).write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    assert read_migrations(tmp_path) == read_migrations()


@pytest.mark.parametrize("names", [["0002_b.sql"], ["0001_a.sql", "0003_c.sql"], ["first.sql"]])
def test_gaps_in_numbers_and_unnumbered_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1")
    with pytest.raises(MigrationRefused):
        read_migrations(tmp_path)


@pytest.mark.parametrize("first", range(1, len(read_migrations())))
async def test_memories_of_every_earlier_schema_are_migrated(
    empty_dsn: str, connection: asyncpg.Connection, first: int
) -> None:
    """Memories stored after the first `first` migrations can be listed, found and condensed after
    the last."""
    await migrate(connection, read_migrations()[:first])
    identity = (IDENTITY.name, IDENTITY.revision, IDENTITY.precision, IDENTITY.dimensions)
    await connection.execute(
        "insert into embedding_generations (model, revision, precision, dimensions) "
        "values ($1, $2, $3, $4)",
        *identity,
    )
    has_generations = "generation" in {
        row[0]
        for row in await connection.fetch(
            "select column_name from information_schema.columns where table_name = 'memories'"
        )
    }
    ids = [uuid7() for _ in range(12)]
    for n, memory_id in enumerate(ids):
        vector = embed_words(f"old fact {n}").tolist()
        await connection.execute(
            "insert into memories (id, agent_id, user_id, content, embedding, importance, "
            f"memory_type, metadata, created_at, updated_at{', generation' * has_generations}) "
            "values ($1, 'agent', 'user', $2, $3::text::vector, 1.5, 'episodic', "
            f"'{{\"n\": 1}}', $4, $4{', 1' * has_generations})",
            memory_id,
            f"old fact {n}",
            str(vector),
            datetime(2024, 1, 1 + n, tzinfo=UTC),
        )
    await migrate(connection, read_migrations())
    index = await connection.fetchval("select pg_get_indexdef('memories_embedding'::regclass)")
    assert index.endswith("WITH (ef_construction='256') WHERE indexed")
    pool = Pool(empty_dsn, StoreSettings())
    store = build_store(pool, StoreSettings())
    assert await store.generations.adopt_generation(IDENTITY) == 1
    await store.upkeep.renew_terms()
    page = await store.memories.list_page("agent", "user", page_size=50)
    assert [memory.id for memory in page.memories] == ids[::-1]
    assert {memory.importance for memory in page.memories} == {1.5}
    assert {str(memory.metadata) for memory in page.memories} == {"{'n': 1}"}
    query = SearchQuery("agent", "user", "old fact 7", 1, Ranking(1.0))
    (hit,) = await store.searches.search(query, embed_words("old fact 7"), 1, None)
    assert (hit.id, hit.score) == (ids[7], 1.0)
    changed = await store.memories.update(
        "agent", ids[0], MemoryPatch(importance=1), None, None, None
    )
    assert changed is not None
    assert len(await store.memories.history("agent", ids[0], None, 9) or []) == 1
    settings = SummarizationSettings(threshold=5, batch_size=5)
    report = await passes_over(store, settings).run()
    assert (report.summaries, report.failed) == (2, 0)
    await pool.close()
