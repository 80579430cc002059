"""`memex restore`: loads a backup's memories into the database in one transaction: all or none.

The migrations that the backup was made under, whose checksums are compared, create the tables;
pg_restore only prints the rows. So a restore does not depend on the owner of the vector extension,
the schema's name or the server's version, and newer migrations are applied to the backup's rows.
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
_IDENTITY_COLUMNS = """
select attrelid::regclass::text as table, attname as column
from pg_attribute where attrelid = any($1::text[]::regclass[]) and attidentity <> ''
"""
_CONTINUE_SEQUENCE = """
select setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))
from {table} having count(*) > 0
"""


def restore(settings: Settings, file: Path, replace: bool) -> None:
    """Restore with a progress bar. A failure or Ctrl-C leaves the database unchanged.

    Raises StartupError, Unavailable, BackupFailed.
    """
    dump = file.expanduser().resolve()
    manifest = read_manifest(dump)
    migrations_of(manifest, read_migrations())
    with progress_bar(_LAYOUT) as progress:
        progress.step("checking", 0, manifest.bytes)
        stopping.run(verify(dump, manifest, progress.show))
    with database.exclusive(settings) as dsn:
        with progress_bar(_LAYOUT) as progress:
            stopping.run(load_backup(dsn, settings.db, dump, manifest, replace, progress.step))
        stopping.ignore_signals()
        model = f", embedded with {manifest.embedding.model}" if manifest.embedding else ""
        print(f"memex: restored {manifest.memories:,} memories{model}", flush=True)


def migrations_of(manifest: Manifest, known: list[Migration]) -> list[Migration]:
    """The migrations that a backup was made under. Raises MigrationRefused."""
    by_name = {migration.name: migration for migration in known}
    for name in manifest.migrations:
        if name not in by_name:
            raise MigrationRefused(
                f"the backup has migration {name}, which this version of memex does not know: a "
                "newer version made it. Restore it with that version"
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
    """Replace the database's memories by the backup's. Without `replace` it must have none.

    Raises BackupFailed, MigrationRefused, DatabaseUnsuitable, Unavailable, BadSetting.
    """
    known = read_migrations()
    connection = await connect(dsn, settings)
    try:
        with database.named_failures():
            if sessions := await database.other_sessions(connection, leave_timeout_s):
                raise BackupFailed(
                    f"the database is in use by {sessions} other "
                    f"session{'s' if sessions > 1 else ''} of the same user: stop memex first"
                )
            transaction = connection.transaction()
            await transaction.start()
            try:
                await _prepare(connection)
                await _drop_existing(connection, known, replace)
                await migrate(connection, migrations_of(manifest, known))
                await _fill(connection, dump, manifest, show)
                await migrate(connection, known, lambda new: show(f"applying {new.name}", 0, 1))
                await _finish(connection, manifest)
            except BaseException:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await stopping.uninterrupted(transaction.rollback())
                raise  # if the connection is lost, the server rolls back by itself
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
    await connection.execute(*sql.lock_migrations())  # a service that starts meanwhile waits


async def _drop_existing(
    connection: asyncpg.Connection, known: list[Migration], replace: bool
) -> None:
    """Drop memex's tables and functions; anything else in the same schema stays."""
    schema = await tables.schema(connection)
    if schema is None:
        return
    known_checksums = {(migration.name, migration.checksum) for migration in known}
    for row in await connection.fetch(*sql.applied_migrations()):
        if (row["name"], row["checksum"]) not in known_checksums:
            raise MigrationRefused(
                f"the database has migration {row['name']}, which this version of memex does not "
                "know: its tables belong to a newer version or another application"
            )
    memories = await connection.fetchval("select count(*) from memories")
    if memories and not replace:
        raise BackupFailed(
            f"the database holds {memories:,} memories already; --replace deletes them "
            "(`memex backup` saves them first)"
        )
    for kind, names in (("table", tables.TABLES), ("function", tables.FUNCTIONS)):
        qualified = ", ".join(f"{_quoted(schema)}.{name}" for name in names)
        await connection.execute(f"drop {kind} if exists {qualified}")


async def _fill(connection: asyncpg.Connection, dump: Path, manifest: Manifest, show: Step) -> None:
    present = await tables.present(connection)
    await connection.execute("truncate schema_migrations")
    for table in present:
        # They count terms and keep versions, which the backup already contains.
        await connection.execute(f"alter table {table} disable trigger user")
    early = present.index("memories")
    for table in present[:early]:
        await _copy(connection, dump, table, lambda _rows: None)
    rows = await connection.fetch(*sql.applied_migrations())
    if tuple(row["name"] for row in rows) != manifest.migrations:
        raise BackupFailed("the backup's migrations are not those in its manifest")
    await _fit_dimensions(connection)
    await _fit_reembedding(connection)
    # Building indexes over all rows at once is faster and gives better ones.
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
    for row in await connection.fetch(_IDENTITY_COLUMNS, present):
        await connection.execute(_CONTINUE_SEQUENCE.format(**row))


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
            await listening  # raises pg_restore's reason for ending the rows early
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
    """Set the dimensions of the embeddings: the backup's model may not be the default one."""
    generation = await connection.fetchrow(*sql.active_generation())
    if generation is None:
        return
    dimensions = generation["dimensions"]
    if await connection.fetchval(*sql.embedding_dimensions()) != dimensions:
        await connection.execute(*sql.set_embedding_dimensions(dimensions=dimensions))


async def _fit_reembedding(connection: asyncpg.Connection) -> None:
    """If the backup was made during a re-embedding, prepare for its embeddings so far, so that
    `memex reembed` can continue."""
    building = await connection.fetchrow(*sql.building_generation())
    if building is not None:
        await connection.execute(*sql.begin_reembedding(dimensions=building["dimensions"]))


async def _finish(connection: asyncpg.Connection, manifest: Manifest) -> None:
    memories = await connection.fetchval("select count(*) from memories")
    if memories != manifest.memories:
        raise BackupFailed(
            f"the backup holds {memories:,} memories, but its manifest says {manifest.memories:,}"
        )
    for table in await tables.present(connection):
        await connection.execute(f"analyze {table}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
