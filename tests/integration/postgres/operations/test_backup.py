"""Backups of a real database: what is in them, and what is left where none is made."""

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
    connected,
    fill_in,
    held_up,
    listed,
    look,
    opened,
    pg_dump_waits,
    restored,
    rows,
)
from tests.support.postgres.memories import fill


async def test_the_list_of_tables_and_functions_is_the_migrations(dsn: str) -> None:
    ours = "where not exists (select from pg_depend where objid = t.oid and deptype = 'e')"
    public = "= 'public'::regnamespace"
    relations = f"select relname from pg_class t {ours} and relkind = 'r' and relnamespace {public}"
    assert {name for (name,) in await rows(dsn, relations)} == set(tables.TABLES)
    routines = f"select proname from pg_proc t {ours} and pronamespace {public}"
    assert {name for (name,) in await rows(dsn, routines)} == set(tables.FUNCTIONS)


async def test_the_manifest_says_what_is_in_it(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
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


async def test_older_backups_make_room(dsn: str, tmp_path: Path) -> None:
    for day in ("20200101", "20200102"):
        for suffix in ("", ".json"):
            (tmp_path / f"memex-{day}T000000Z.dump{suffix}").write_text("{}")
    dump, _, old = await write_backup(dsn, SETTINGS, tmp_path, 2)
    assert [path.name for path in old] == ["memex-20200101T000000Z.dump"]
    kept = {"memex-20200102T000000Z.dump", dump.name}
    assert listed(tmp_path) == kept | {f"{name}.json" for name in kept}


async def test_a_backup_is_of_one_moment(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    """While others write, which it keeps waiting for nothing."""
    await fill_in(dsn)
    begun, stop = asyncio.Event(), asyncio.Event()

    async def write_on() -> int:
        written = 0
        async with opened(dsn) as store:
            while not stop.is_set():
                written += len((await fill(store, 3))[0])
                begun.set()
        return written

    writing = asyncio.create_task(write_on())
    await begun.wait()
    dump = await back_up(dsn, tmp_path)
    stop.set()
    assert await writing > 3
    memories = read_manifest(dump).memories
    assert 161 < memories < (await rows(dsn, "select count(*) from memories"))[0][0]
    await restored(empty_dsn, dump)
    assert await rows(empty_dsn, "select count(*) from memories") == [(memories,)]


async def test_pg_restore_alone_can_read_it(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    env = pg_tools.environment(empty_dsn)
    # A new database has the schema already, which the archive would make.
    options = ("--clean", "--if-exists", "--exit-on-error", f"--dbname={env['PGDATABASE']}")
    _call("pg_restore", env, *options, str(dump))
    assert await look(empty_dsn) == await look(dsn)


async def test_another_applications_tables_are_no_concern(
    postgres: EmbeddedPostgres, empty_dsn: str, tmp_path: Path
) -> None:
    """Of a user who may little: the extension is somebody else's, and so are tables beside."""
    async with connected(empty_dsn) as connection:
        await connection.execute("create extension vector")
        await connection.execute('create table "other""s" (secret) as values (42)')
        await connection.execute("create role app login password 'x'")
        await connection.execute("grant create, usage on schema public to app")
    dsn = empty_dsn.replace("memex@", "app:x@")
    try:
        async with connected(dsn) as connection:
            await migrate(connection, read_migrations())
        await fill_in(dsn)
        before = await look(dsn)
        dump = await back_up(dsn, tmp_path)
        await restored(dsn, dump, replace=True)
        assert await look(dsn) == before
        assert await rows(empty_dsn, 'table "other""s"') == [(42,)]
        listing = _call("pg_restore", {}, "--list", str(dump))
        assert "memories" in listing
        assert "other" not in listing
    finally:
        async with connected(empty_dsn) as connection:
            await connection.execute("drop owned by app")
            await connection.execute("drop role app")


async def test_a_database_without_memories_has_no_backup(empty_dsn: str, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="no tables of memex"):
        await back_up(empty_dsn, tmp_path)
    assert listed(tmp_path) == set()


async def test_stopping_a_backup_leaves_no_file(dsn: str, tmp_path: Path) -> None:
    async with held_up(dsn):
        task = asyncio.create_task(back_up(dsn, tmp_path))
        await pg_dump_waits(dsn, True)
        assert [name.endswith(".partial") for name in listed(tmp_path)] == [True]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert listed(tmp_path) == set()
        await pg_dump_waits(dsn, False)


def _call(name: str, env: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [program(name), *arguments], env=env, check=True, capture_output=True, text=True
    ).stdout
