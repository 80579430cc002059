"""Backups of a real database: their content, and what a stopped or refused one leaves."""

import asyncio
import stat
import subprocess
from pathlib import Path

import pytest

from deployments.domain.errors import BackupFailed
from deployments.store.postgres.migrate import migrate, read_migrations
from serve_app.operations.backup import pg_tools, tables
from serve_app.operations.backup.backup import write_backup
from serve_app.operations.backup.files import read_manifest, sha256
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres, program
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.backups import (
    SETTINGS,
    back_up,
    blocked_pg_dump,
    client_view,
    file_names,
    fill_database,
    open_store,
    restore,
    rows,
    until_pg_dump_waits,
)
from tests.support.postgres.databases import connected
from tests.support.postgres.memories import fill


async def test_tables_and_functions_are_all_that_the_migrations_create(dsn: str) -> None:
    not_of_extensions = (
        "where not exists (select from pg_depend where objid = t.oid and deptype = 'e')"
    )
    public = "= 'public'::regnamespace"
    relations = (
        f"select relname from pg_class t {not_of_extensions} "
        f"and relkind = 'r' and relnamespace {public}"
    )
    assert {name for (name,) in await rows(dsn, relations)} == set(tables.TABLES)
    routines = f"select proname from pg_proc t {not_of_extensions} and pronamespace {public}"
    assert {name for (name,) in await rows(dsn, routines)} == set(tables.FUNCTIONS)


async def test_manifest_describes_the_dump(dsn: str, tmp_path: Path) -> None:
    await fill_database(dsn)
    dump, manifest, _ = await write_backup(dsn, SETTINGS, tmp_path / "new", 7)
    assert read_manifest(dump) == manifest
    assert manifest.memories == 161
    assert manifest.migrations == tuple(migration.name for migration in read_migrations())
    assert manifest.embedding is not None
    assert manifest.embedding.model == IDENTITY.name
    assert manifest.bytes == dump.stat().st_size > 10_000
    assert manifest.sha256 == await sha256(dump, lambda _done: None)
    assert {stat.S_IMODE(path.stat().st_mode) for path in dump.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(dump.parent.stat().st_mode) == 0o700


async def test_backup_deletes_the_oldest_surplus_backups(dsn: str, tmp_path: Path) -> None:
    for day in ("20200101", "20200102"):
        for suffix in ("", ".json"):
            (tmp_path / f"memex-{day}T000000Z.dump{suffix}").write_text("{}")
    dump, _, deleted = await write_backup(dsn, SETTINGS, tmp_path, 2)
    assert [path.name for path in deleted] == ["memex-20200101T000000Z.dump"]
    kept = {"memex-20200102T000000Z.dump", dump.name}
    assert file_names(tmp_path) == kept | {f"{name}.json" for name in kept}


async def test_backup_is_a_snapshot_and_delays_no_writer(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await fill_database(dsn)
    begun, stop = asyncio.Event(), asyncio.Event()

    async def write_until_stopped() -> int:
        written = 0
        async with open_store(dsn) as store:
            while not stop.is_set():
                written += len((await fill(store, 3))[0])
                begun.set()
        return written

    writing = asyncio.create_task(write_until_stopped())
    await begun.wait()
    dump = await back_up(dsn, tmp_path)
    stop.set()
    assert await writing > 3
    memories = read_manifest(dump).memories
    assert 161 < memories < (await rows(dsn, "select count(*) from memories"))[0][0]
    await restore(empty_dsn, dump)
    assert await rows(empty_dsn, "select count(*) from memories") == [(memories,)]


async def test_pg_restore_can_restore_a_dump_without_memex(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await fill_database(dsn)
    dump = await back_up(dsn, tmp_path)
    env = pg_tools.environment(empty_dsn)
    # The archive creates the schema `public`, which a new database already has.
    options = ("--clean", "--if-exists", "--exit-on-error", f"--dbname={env['PGDATABASE']}")
    _call("pg_restore", env, *options, str(dump))
    assert await client_view(empty_dsn) == await client_view(dsn)


async def test_backup_and_restore_ignore_tables_of_another_application(
    postgres: EmbeddedPostgres, empty_dsn: str, tmp_path: Path
) -> None:
    """The user has few rights: another user owns the extension and the other tables."""
    async with connected(empty_dsn) as connection:
        await connection.execute("create extension vector")
        await connection.execute('create table "other""s" (secret) as values (42)')
        await connection.execute("create role app login password 'x'")
        await connection.execute("grant create, usage on schema public to app")
    dsn = empty_dsn.replace("memex@", "app:x@")
    try:
        async with connected(dsn) as connection:
            await migrate(connection, read_migrations())
        await fill_database(dsn)
        before = await client_view(dsn)
        dump = await back_up(dsn, tmp_path)
        await restore(dsn, dump, replace=True)
        assert await client_view(dsn) == before
        assert await rows(empty_dsn, 'table "other""s"') == [(42,)]
        contents = _call("pg_restore", {}, "--list", str(dump))
        assert "memories" in contents
        assert "other" not in contents
    finally:
        async with connected(empty_dsn) as connection:
            await connection.execute("drop owned by app")
            await connection.execute("drop role app")


async def test_backup_of_a_database_without_tables_is_refused(
    empty_dsn: str, tmp_path: Path
) -> None:
    with pytest.raises(BackupFailed, match="no tables of memex"):
        await back_up(empty_dsn, tmp_path)
    assert file_names(tmp_path) == set()


async def test_cancelled_backup_leaves_no_file(dsn: str, tmp_path: Path) -> None:
    async with blocked_pg_dump(dsn):
        task = asyncio.create_task(back_up(dsn, tmp_path))
        await until_pg_dump_waits(dsn, True)
        assert [name.endswith(".partial") for name in file_names(tmp_path)] == [True]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert file_names(tmp_path) == set()
        await until_pg_dump_waits(dsn, False)


def _call(name: str, env: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [program(name), *arguments], env=env, check=True, capture_output=True, text=True
    ).stdout
