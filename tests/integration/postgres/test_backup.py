"""Backups of a real database: what comes back, and what is left alone when it cannot."""

import asyncio
import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import psutil
import pytest

from deployments.domain.errors import BackupFailed, MigrationRefused
from deployments.domain.ids import uuid7
from deployments.domain.types import (
    MemoryPatch,
    ModelIdentity,
    NewMemory,
    Ranking,
    SearchFilters,
    SearchQuery,
    WriteKey,
)
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Pool
from deployments.store.queries import sql
from deployments.store.repository import PostgresMemoryStore
from deployments.store.settings import StoreSettings
from serve_app.local import pg_tools, restore, tables
from serve_app.local.backup import write_backup
from serve_app.local.backup_files import Manifest, manifest_of, read_manifest, sha256
from serve_app.local.folders import DataFolder
from serve_app.local.postgres import EmbeddedPostgres, program
from serve_app.local.restore import load_backup
from tests.fakes.embedder import IDENTITY
from tests.integration.postgres.data import fill, sentences, unit_vectors

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
async def opened(
    dsn: str, settings: StoreSettings = SETTINGS
) -> AsyncIterator[PostgresMemoryStore]:
    pool = Pool(dsn, settings)
    try:
        yield PostgresMemoryStore(pool, settings)
    finally:
        await pool.close()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def rows(dsn: str, statement: str, *args: object) -> list[tuple[Any, ...]]:
    async with connected(dsn) as connection:
        return [tuple(row) for row in await connection.fetch(statement, *args)]


async def everything(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, as text."""
    return {
        table: await rows(dsn, f"select t::text from {table} t order by 1")
        for table in tables.TABLES
    }


@dataclass(frozen=True)
class Seen:
    """What a client can see of a database."""

    searches: list[list[tuple[Any, ...]]]
    listing: list[Any]
    counts: list[int]


async def look(dsn: str, settings: StoreSettings = SETTINGS) -> Seen:
    async with opened(dsn, settings) as store:
        generation = await store.adopt_generation(IDENTITY)
        searches = []
        for text, vector in QUERIES:
            for ranking in RANKINGS:
                for filters in (SearchFilters(), SearchFilters(metadata={"even": True})):
                    query = SearchQuery("agent", "user", text, 20, ranking, filters, AS_OF)
                    hits = await store.search(query, vector, generation, None)
                    searches.append([(hit.id, hit.score, hit.content) for hit in hits])
        listing = (await store.list_page("agent", None, None, 200, None)).memories
        counts = [await store.count("agent", user) for user in (None, "user", "other", "nobody")]
    assert all(searches)
    return Seen(searches, listing, counts)


async def fill_in(dsn: str) -> None:
    """Memories, changed ones among them, in two scopes; and a write under a key."""
    async with opened(dsn) as store:
        memories, _, generation = await fill(store, 150, contents=sentences(150))
        await fill(store, 10, "other", contents=sentences(10))
        odd = 'tab\t, line\n, \\. and \\N, "quoted", ünïcödé 🦊'
        patch = MemoryPatch(content=odd, metadata={"odd": [odd, None, 1.5]})
        await store.update("agent", memories[3].id, patch, unit_vectors(1)[0], generation, None)
        await store.insert_once(
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


async def restored(dsn: str, dump: Path, replace: bool = False) -> None:
    await load_backup(dsn, SETTINGS, dump, read_manifest(dump), replace, no_progress)


async def test_the_list_of_tables_and_functions_is_the_migrations(dsn: str) -> None:
    ours = "where not exists (select from pg_depend where objid = t.oid and deptype = 'e')"
    public = "= 'public'::regnamespace"
    relations = f"select relname from pg_class t {ours} and relkind = 'r' and relnamespace {public}"
    assert {name for (name,) in await rows(dsn, relations)} == set(tables.TABLES)
    routines = f"select proname from pg_proc t {ours} and pronamespace {public}"
    assert {name for (name,) in await rows(dsn, routines)} == set(tables.FUNCTIONS)


async def test_the_same_searches_give_the_same_scores(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    before, stored = await look(dsn), await everything(dsn)
    dump = await back_up(dsn, tmp_path)
    async with opened(dsn) as store:
        await store.forget("agent", "user")
        await fill(store, 30, contents=sentences(30))
    assert await look(dsn) != before

    await restored(dsn, dump, replace=True)
    assert await everything(dsn) == stored
    assert await look(dsn) == before


async def test_a_new_database_takes_a_backup(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    await restored(empty_dsn, dump)
    assert await everything(empty_dsn) == await everything(dsn)
    assert await look(empty_dsn) == await look(dsn)

    catalogue = (
        "select indexdef from pg_indexes where schemaname = 'public' order by 1",
        "select tgname, tgenabled::text from pg_trigger where not tgisinternal order by 1",
        "select sequencename, last_value from pg_sequences order by 1",
    )
    for statement in catalogue:
        assert await rows(empty_dsn, statement) == await rows(dsn, statement)


async def test_large_scopes_are_searched_through_the_index(dsn: str, tmp_path: Path) -> None:
    """The graph is built anew, and here holds so few that it finds all of them."""
    settings = StoreSettings(exact_search_rows=10)
    await fill_in(dsn)
    before = await look(dsn, settings)
    await restored(dsn, await back_up(dsn, tmp_path), replace=True)
    assert await look(dsn, settings) == before


async def test_what_was_restored_can_be_written_to(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await fill_in(dsn)
    await restored(empty_dsn, await back_up(dsn, tmp_path))
    async with opened(empty_dsn) as store:
        generation = await store.adopt_generation(IDENTITY)
        memory = (await store.list_page("agent", "user", None, 1, None)).memories[0]
        for content in ("a quokka", "a quokka and a numbat"):
            patch = MemoryPatch(content=content)
            await store.update("agent", memory.id, patch, unit_vectors(1)[0], generation, None)
        versions = await store.history("agent", memory.id, None, 10)
        assert versions is not None
        assert [version.content for version in versions] == ["a quokka", memory.content]
        query = SearchQuery("agent", "user", "numbat", 1, Ranking(1.0, mode="lexical"))
        assert [
            hit.id for hit in await store.search(query, unit_vectors(1)[0], generation, None)
        ] == [memory.id]
        await store.forget("agent", "user")
        await store.forget("agent", "other")
    # The frequencies of words are counted on from where they stood.
    left = (
        "select term_key, sum(memories) from (table document_frequencies union all "
        "table document_frequency_changes) t group by 1 having sum(memories) <> 0"
    )
    assert await rows(empty_dsn, left) == []


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


async def test_memories_that_are_there_are_not_replaced_unasked(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump, stored = await back_up(dsn, tmp_path), await everything(dsn)
    with pytest.raises(BackupFailed, match=r"holds 161 memories already; --replace"):
        await restored(dsn, dump)
    assert await everything(dsn) == stored


async def test_a_database_in_use_is_left_alone(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "_LEAVE_TIMEOUT_S", 0.3)
    await fill_in(dsn)
    dump, stored = await back_up(dsn, tmp_path), await everything(dsn)
    async with opened(dsn) as service:
        await service.ping()
        with pytest.raises(BackupFailed, match="in use, by 1 more session of the same user"):
            await restored(dsn, dump, replace=True)
    assert await everything(dsn) == stored


def cut(dump: Path) -> None:
    """So that its checksum still fits."""
    data = dump.read_bytes()[: dump.stat().st_size // 2]
    dump.write_bytes(data)
    changes = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    beside = manifest_of(dump)
    manifest = Manifest.model_validate_json(beside.read_bytes()).model_copy(update=changes)
    beside.write_text(manifest.model_dump_json())


async def test_a_failure_half_way_leaves_what_was_there(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    cut(dump)
    async with opened(dsn) as store:
        await fill(store, 5)
    stored, before = await everything(dsn), await look(dsn)
    with pytest.raises(BackupFailed, match=r"pg_restore failed: .*end of file"):
        await restored(dsn, dump, replace=True)
    assert await everything(dsn) == stored
    assert await look(dsn) == before


@pytest.mark.parametrize("moment", ["restoring memories", "indexing"])
async def test_stopping_half_way_leaves_what_was_there(
    dsn: str, tmp_path: Path, moment: str
) -> None:
    await fill_in(dsn)
    dump = await back_up(dsn, tmp_path)
    async with opened(dsn) as store:
        await fill(store, 5)
    stored = await everything(dsn)
    seen = []

    def stop(what: str, _done: int, _total: int) -> None:
        if what == moment and not seen:
            seen.append(what)
            task.cancel()

    task = asyncio.create_task(load_backup(dsn, SETTINGS, dump, read_manifest(dump), True, stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen
    assert await everything(dsn) == stored


async def test_more_memories_than_the_manifest_says_are_refused(dsn: str, tmp_path: Path) -> None:
    await fill_in(dsn)
    dump, stored = await back_up(dsn, tmp_path), await everything(dsn)
    manifest = read_manifest(dump).model_copy(update={"memories": 160})
    with pytest.raises(BackupFailed, match="gave 161 memories, not the 160"):
        await load_backup(dsn, SETTINGS, dump, manifest, True, no_progress)
    assert await everything(dsn) == stored


async def test_newer_migrations_are_applied_to_an_older_backup(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    memory = uuid7()
    async with connected(empty_dsn) as connection:
        await migrate(connection, read_migrations()[:4])
        generation = await connection.fetchval(
            sql("add_generation"), IDENTITY.name, "1", "fp32", IDENTITY.dimensions
        )
        await connection.execute(
            "insert into memories (id, agent_id, user_id, content, embedding, generation, "
            "importance, memory_type, metadata, created_at, updated_at) values "
            "($1, 'agent', 'user', 'old', $2::text::vector, $3, 1, 'semantic', '{}', now(), now())",
            memory, str(unit_vectors(1)[0].tolist()), generation,
        )  # fmt: skip
    dump = await back_up(empty_dsn, tmp_path)
    assert len(read_manifest(dump).migrations) == 4

    await restored(dsn, dump)
    applied = [name for (name,) in await rows(dsn, "select name from schema_migrations order by 1")]
    assert applied == [migration.name for migration in read_migrations()]
    async with opened(dsn) as store:
        found = await store.get("agent", memory)
        assert found is not None
        assert found.content == "old"


async def test_vectors_of_another_width_come_back(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    wide = ModelIdentity("fake/wide", "1", "fp32", 768)
    async with opened(dsn) as store:
        generation = await store.adopt_generation(wide)
        vector = np.ones((1, 768), dtype=np.float32) / np.sqrt(768)
        [memory] = await store.insert(
            [NewMemory(uuid7(), "agent", "user", "wide")], vector, generation, None
        )
    dump = await back_up(dsn, tmp_path)
    await restored(empty_dsn, dump)
    await restored(dsn, dump, replace=True)
    for each in (dsn, empty_dsn):
        async with opened(each) as store:
            assert await store.adopt_generation(wide) == generation
            query = SearchQuery("agent", "user", "wide", 1, Ranking(1.0, mode="semantic"))
            [hit] = await store.search(query, vector[0], generation, None)
            assert (hit.id, hit.score) == (memory.id, 1.0)
        definition = "select indexdef from pg_indexes where indexname = 'memories_embedding'"
        assert "halfvec(768)" in (await rows(each, definition))[0][0]


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


async def test_tables_that_are_not_memexes_are_not_dropped(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    dump = await back_up(dsn, tmp_path)
    async with connected(empty_dsn) as connection:
        await connection.execute("create table memories (mine) as values (1)")
    with pytest.raises(BackupFailed, match='"memories" already exists'):
        await restored(empty_dsn, dump, replace=True)
    async with connected(empty_dsn) as connection:
        await connection.execute(sql("create_migrations_table"))
        await connection.execute(sql("record_migration"), 1, "theirs", "x")
    with pytest.raises(MigrationRefused, match="migration theirs"):
        await restored(empty_dsn, dump, replace=True)
    with pytest.raises(MigrationRefused, match="migration theirs"):
        await back_up(empty_dsn, tmp_path)
    assert await rows(empty_dsn, "table memories") == [(1,)]


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


@asynccontextmanager
async def held_up(dsn: str) -> AsyncIterator[None]:
    """pg_dump waits."""
    async with connected(dsn) as connection, connection.transaction():
        await connection.execute("lock table document_frequencies")
        yield


async def pg_dump_waits(dsn: str, waits: bool) -> None:
    async with asyncio.timeout(20):
        while bool((await rows(dsn, _PG_DUMP_WAITS))[0][0]) != waits:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _call(name: str, env: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [program(name), *arguments], env=env, check=True, capture_output=True, text=True
    ).stdout


def memex(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serve_app.cli", *arguments],
        env={**os.environ, "MEMEX_DATA_DIR": str(data_dir), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def data_dirs() -> Iterator[tuple[Path, Path]]:
    """Of which the first has memories."""
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        os.chmod(root, 0o755)  # as root, Postgres runs as a user who has to pass through
        one, other = Path(root) / "one", Path(root) / "other"
        with running(one) as dsn:
            asyncio.run(_migrate_and_fill(dsn))
        yield one, other


@contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """Postgres over the folder, which is locked meanwhile, as it is by `memex serve`."""
    folder = DataFolder(data_dir)
    folder.open()
    server = EmbeddedPostgres(folder)
    try:
        server.start()
        yield server.dsn
    finally:
        server.stop()
        folder.close()


async def _migrate_and_fill(dsn: str) -> None:
    async with connected(dsn) as connection:
        await migrate(connection, read_migrations())
    await fill_in(dsn)


def test_the_commands(data_dirs: tuple[Path, Path]) -> None:
    one, other = data_dirs
    saved = memex(one, "backup")
    assert (saved.returncode, saved.stderr) == (0, "")
    [dump] = (one / "backups").glob("memex-*.dump")
    assert saved.stdout.startswith(f"memex: backed up 161 memories to {dump} (")

    with running(one) as dsn:  # beside a service
        before = asyncio.run(look(dsn))
        beside = memex(one, "backup", "--to", str(other.parent / "kept"))
        assert beside.returncode == 0, beside.stderr
        assert len(list((other.parent / "kept").iterdir())) == 2
        refused = memex(one, "restore", str(dump), "--replace")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("memex: memex is already running with the data folder")

    taken = memex(other, "restore", str(dump))
    assert (taken.returncode, taken.stderr) == (0, "")
    assert taken.stdout == "memex: restored 161 memories, embedded with fake/words\n"
    with running(other) as dsn:
        assert asyncio.run(look(dsn)) == before
    assert memex(other, "restore", str(dump)).stderr.count("\n") == 1

    dump.write_bytes(dump.read_bytes()[:-1] + b"x")
    damaged = memex(other, "restore", str(dump), "--replace")
    assert damaged.returncode == 1
    assert damaged.stderr.startswith(f"memex: {dump} is damaged")
    assert damaged.stderr.count("\n") == 1


def test_a_configured_database(dsn: str, tmp_path: Path) -> None:
    """Whose address is never said, and whose data folder stays memex's own."""
    asyncio.run(fill_in(dsn))
    secret = dsn.replace("memex@", "memex:secret-word@")
    saved = memex(tmp_path / "data", "backup", DATABASE_URL=secret)
    assert (saved.returncode, saved.stderr) == (0, "")
    [dump] = (tmp_path / "data" / "backups").glob("memex-*.dump")
    refused = memex(tmp_path / "data", "restore", str(dump), DATABASE_URL=secret)
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    taken = memex(tmp_path / "data", "restore", str(dump), "--replace", DATABASE_URL=secret)
    assert (taken.returncode, taken.stderr) == (0, "")
    away = memex(tmp_path, "backup", DATABASE_URL=secret.replace("/test_", "/no_such_"))
    assert (away.returncode, away.stdout) == (1, "")
    assert "secret-word" not in saved.stdout + refused.stderr + taken.stdout + away.stderr
    DataFolder(tmp_path / "data").open()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_backup_that_is_stopped(dsn: str, tmp_path: Path, number: signal.Signals) -> None:
    asyncio.run(_stop_one(dsn, tmp_path, number))


async def _stop_one(dsn: str, folder: Path, number: signal.Signals) -> None:
    async with held_up(dsn):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serve_app.cli", "backup", "--to", str(folder),
            env={**os.environ, "DATABASE_URL": dsn.replace("memex@", "memex:secret-word@")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        await pg_dump_waits(dsn, True)
        [child] = psutil.Process(process.pid).children()
        assert child.name() == "pg_dump"
        assert not any("secret-word" in part for part in child.cmdline())
        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, out) == (130, b"")
        assert err == b"memex: stopped; no backup was written\n"
        assert listed(folder) == set()
        await pg_dump_waits(dsn, False)
