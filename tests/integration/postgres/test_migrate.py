"""Migrations on a real database."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from deployments.domain.errors import MigrationRefused
from deployments.store.migrate import MIGRATIONS_DIR, migrate, read_migrations

_ONE_PROCESS = """
import asyncio, sys, asyncpg
from deployments.store.migrate import migrate, read_migrations

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    print(len(await migrate(connection, read_migrations())))

asyncio.run(main())
"""


@pytest.fixture
async def connection(empty_dsn: str):
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


async def test_applies_each_once(connection: asyncpg.Connection) -> None:
    migrations = read_migrations()
    assert await migrate(connection, migrations) == migrations
    assert await migrate(connection, migrations) == []


def test_ten_processes_at_once(empty_dsn: str) -> None:
    command = [sys.executable, "-c", _ONE_PROCESS, empty_dsn]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    answers = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 10, answers
    applied = sorted(int(out) for out, _ in answers)
    assert applied == [0] * 9 + [len(read_migrations())]


async def test_an_edited_migration_is_refused(connection: asyncpg.Connection) -> None:
    first, *rest = read_migrations()
    await migrate(connection, [first, *rest])
    edited = replace(first, checksum="0" * 64)
    with pytest.raises(MigrationRefused, match="0001_memories was changed"):
        await migrate(connection, [edited, *rest])


async def test_a_newer_database_is_refused(connection: asyncpg.Connection) -> None:
    migrations = read_migrations()
    await migrate(connection, migrations)
    with pytest.raises(MigrationRefused, match="newer"):
        await migrate(connection, migrations[:-1])


async def test_a_failing_migration_leaves_nothing(connection: asyncpg.Connection) -> None:
    broken = replace(read_migrations()[0], text="create table half (); select nonsense")
    with pytest.raises(asyncpg.PostgresError):
        await migrate(connection, [broken])
    assert await connection.fetchval("select to_regclass('half')") is None
    assert await connection.fetchval("select to_regclass('schema_migrations')") is None


def test_line_ends_do_not_change_a_checksum(tmp_path: Path) -> None:
    for source in MIGRATIONS_DIR.glob("*.sql"):
        (tmp_path / source.name).write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    assert read_migrations(tmp_path) == read_migrations()


@pytest.mark.parametrize("names", [["0002_b.sql"], ["0001_a.sql", "0003_c.sql"], ["first.sql"]])
def test_gaps_and_odd_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1")
    with pytest.raises(MigrationRefused):
        read_migrations(tmp_path)
