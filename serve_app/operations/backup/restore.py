"""`memex restore`: puts a backup's memories into the database, all of them or, upon any failure,
none: it is one transaction.

The tables are made by the migrations that the backup was made under, whose texts are checked, and
pg_restore gives out their rows. So nothing depends on who owns the vector extension, on the
schema's name or on the server's version; and a migration that is newer than the backup is applied
to its rows.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg

from deployments.domain.errors import BackupFailed, MigrationRefused
from deployments.store.postgres.migrate import Migration, migrate, read_migrations
from deployments.store.postgres.pool import connect
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from serve_app.operations import database, stopping
from serve_app.operations.backup import pg_tools, tables
from serve_app.operations.backup.files import Manifest, read_manifest, verify
from serve_app.operations.backup.table_rows import table_rows
from serve_app.operations.progress import Step, progress_bar
from serve_app.settings import Settings

_LAYOUT = "{desc} {bar:30} {n_fmt}/{total_fmt}"
_LOCK_TIMEOUT = "10s"

_INDEXES = """
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
from pg_index
where indrelid = any($1::text[]::regclass[])
    and not exists (select from pg_constraint where conindid = indexrelid)
"""
_NUMBERED = """
select attrelid::regclass::text as table, attname as column
from pg_attribute where attrelid = any($1::text[]::regclass[]) and attidentity <> ''
"""
_NUMBER_ON = """
select setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))
from {table} having count(*) > 0
"""


def restore(settings: Settings, file: Path, replace: bool) -> None:
    """With its progress shown. Raises StartupError, Unavailable, BackupFailed; then, and upon
    Ctrl-C, the database is as it was."""
    dump = file.expanduser().resolve()
    manifest = read_manifest(dump)
    made_under(manifest, read_migrations())
    with progress_bar(_LAYOUT) as progress:
        progress.step("checking", 0, manifest.bytes)
        stopping.run(verify(dump, manifest, progress.show))
    with database.alone(settings) as dsn:
        with progress_bar(_LAYOUT) as progress:
            stopping.run(load_backup(dsn, settings.db, dump, manifest, replace, progress.step))
        stopping.too_late()
        model = f", embedded with {manifest.embedding.model}" if manifest.embedding else ""
        print(f"memex: restored {manifest.memories:,} memories{model}", flush=True)


def made_under(manifest: Manifest, known: list[Migration]) -> list[Migration]:
    """The migrations that a backup was made under. Raises MigrationRefused."""
    by_name = {migration.name: migration for migration in known}
    for name in manifest.migrations:
        if name not in by_name:
            raise MigrationRefused(
                f"the backup has migration {name}, which this version of memex does not know: it "
                "was made by a newer one. Restore it with that one"
            )
    return [by_name[name] for name in manifest.migrations]


async def load_backup(
    dsn: str,
    settings: StoreSettings,
    dump: Path,
    manifest: Manifest,
    replace: bool,
    show: Step,
    leave_timeout_s: float = database.LEAVE_TIMEOUT_S,
) -> None:
    """Raises BackupFailed, MigrationRefused, DatabaseUnsuitable, Unavailable, BadSetting."""
    known = read_migrations()
    connection = await connect(dsn, settings)
    try:
        with database.named_failures():
            if sessions := await database.other_sessions(connection, leave_timeout_s):
                raise BackupFailed(
                    f"the database is in use, by {sessions} more "
                    f"session{'s' if sessions > 1 else ''} of the same user: stop memex first"
                )
            transaction = connection.transaction()
            await transaction.start()
            try:
                await _prepare(connection)
                await _make_room(connection, known, replace)
                await migrate(connection, made_under(manifest, known))
                await _fill(connection, dump, manifest, show)
                await migrate(connection, known, lambda new: show(f"applying {new.name}", 0, 1))
                await _finish(connection, manifest)
            except BaseException:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await stopping.uninterrupted(transaction.rollback())
                raise  # without a connection the server rolls back by itself
            await stopping.uninterrupted(transaction.commit())
    finally:
        with suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await connection.close(timeout=settings.connect_timeout_s)


async def _prepare(connection: asyncpg.Connection) -> None:
    for name, value in (
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("lock_timeout", _LOCK_TIMEOUT),
    ):
        await connection.execute(f"set local {name} = '{value}'")
    await connection.execute(*sql.lock_migrations())  # a service that starts now waits for us


async def _make_room(connection: asyncpg.Connection, known: list[Migration], replace: bool) -> None:
    """Drop what memex has there; other things in the same schema stay."""
    schema = await tables.schema(connection)
    if schema is None:
        return
    ours = {(migration.name, migration.checksum) for migration in known}
    for row in await connection.fetch(*sql.applied_migrations()):
        if (row["name"], row["checksum"]) not in ours:
            raise MigrationRefused(
                f"the database has migration {row['name']}, which this version of memex does not "
                "know: its tables are a newer one's, or another application's"
            )
    memories = await connection.fetchval("select count(*) from memories")
    if memories and not replace:
        raise BackupFailed(
            f"the database holds {memories:,} memories already; --replace has them replaced by the "
            "backup's (memex backup keeps them)"
        )
    for kind, names in (("table", tables.TABLES), ("function", tables.FUNCTIONS)):
        there = ", ".join(f"{_quoted(schema)}.{name}" for name in names)
        await connection.execute(f"drop {kind} if exists {there}")


async def _fill(connection: asyncpg.Connection, dump: Path, manifest: Manifest, show: Step) -> None:
    present = await tables.present(connection)
    await connection.execute("truncate schema_migrations")
    for table in present:
        # They count and keep what is written, which the backup has done already.
        await connection.execute(f"alter table {table} disable trigger user")
    early = present.index("memories")
    for table in present[:early]:
        await _copy(connection, dump, table, lambda _rows: None)
    rows = await connection.fetch(*sql.applied_migrations())
    if tuple(row["name"] for row in rows) != manifest.migrations:
        raise BackupFailed("the backup was made under other migrations than its manifest says")
    await _fit_dimensions(connection)
    await _fit_reembedding(connection)
    # Indexes are built faster, and better, of all rows at once.
    indexes = await connection.fetch(_INDEXES, present)
    for index in indexes:
        await connection.execute(f"drop index {index['name']}")
    for table in present[early:]:
        total = manifest.memories if table == "memories" else 0
        await _copy(connection, dump, table, _counter(table, total, show))
    for table in present:
        await connection.execute(f"alter table {table} enable trigger user")
    for number, index in enumerate(indexes):
        show("indexing", number, len(indexes))
        await connection.execute(index["definition"])
        show("indexing", number + 1, len(indexes))
    for row in await connection.fetch(_NUMBERED, present):
        await connection.execute(_NUMBER_ON.format(**row))


def _counter(table: str, total: int, show: Step) -> Callable[[int], None]:
    return lambda rows: show(f"restoring {table}", rows, total)


async def _copy(
    connection: asyncpg.Connection, dump: Path, table: str, on_rows: Callable[[int], None]
) -> None:
    async with pg_tools.running(
        "pg_restore",
        "--data-only",
        f"--table={table}",
        "--file=-",
        str(dump),
        env=pg_tools.environment(),
    ) as pg_restore:
        listening = asyncio.create_task(pg_restore.listen())
        try:
            found = await table_rows(pg_restore.output)
            if found is not None:
                columns, chunks = found
                await connection.copy_to_table(
                    table, columns=columns, source=_counted(chunks, on_rows), format="text"
                )
            await listening
        except BackupFailed:
            await listening  # which knows why the rows ended early
            raise
        finally:
            listening.cancel()


async def _counted(
    chunks: AsyncIterator[bytes], on_rows: Callable[[int], None]
) -> AsyncIterator[bytes]:
    rows = 0
    async for chunk in chunks:
        yield chunk
        rows += chunk.count(b"\n")
        on_rows(rows)


async def _fit_dimensions(connection: asyncpg.Connection) -> None:
    """A model other than the default one may have made the vectors."""
    generation = await connection.fetchrow(*sql.active_generation())
    if generation is None:
        return
    dimensions = generation["dimensions"]
    if await connection.fetchval(*sql.embedding_dimensions()) != dimensions:
        await connection.execute(*sql.set_embedding_dimensions(dimensions=dimensions))


async def _fit_reembedding(connection: asyncpg.Connection) -> None:
    """A backup that was made while memories were moved to another model has what there was of it,
    and it can be gone on with."""
    building = await connection.fetchrow(*sql.building_generation())
    if building is not None:
        await connection.execute(*sql.begin_reembedding(dimensions=building["dimensions"]))


async def _finish(connection: asyncpg.Connection, manifest: Manifest) -> None:
    memories = await connection.fetchval("select count(*) from memories")
    if memories != manifest.memories:
        raise BackupFailed(
            f"the backup gave {memories:,} memories, not the {manifest.memories:,} it was made of"
        )
    for table in await tables.present(connection):
        await connection.execute(f"analyze {table}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
