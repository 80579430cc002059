"""`memex backup`: writes pg_dump's snapshot of all memories to a file; the service may run."""

import asyncio
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from deployments.domain.errors import AlreadyRunning, BackupFailed, MigrationRefused
from deployments.store.postgres.migrate import read_migrations
from deployments.store.postgres.pool import connect
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from serve_app.operations import database, stopping
from serve_app.operations.backup import pg_tools, tables
from serve_app.operations.backup.files import (
    EmbeddingModel,
    Manifest,
    Part,
    new_part,
    rotate,
    sha256,
)
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.progress import progress_bar
from serve_app.settings import Settings

_POLL_INTERVAL_S = 0.2
_LOCK_WAIT = "60s"
_LAYOUT = "backing up {desc} {n_fmt}B written in {elapsed}"

# Another application's relations in the same schema, which our database user may not be allowed to
# read. ($1 schema, $2 our tables)
_FOREIGN_RELATIONS = """
select relname from pg_class c
where relnamespace = (select oid from pg_namespace where nspname = $1)
    and relkind in ('r', 'p', 'v', 'm', 'f', 'S') and relname <> all($2::text[])
    and not exists (  -- a sequence that numbers one of our columns
        select from pg_depend join pg_class owner on owner.oid = refobjid
        where classid = 'pg_class'::regclass and objid = c.oid and deptype in ('a', 'i')
            and owner.relnamespace = c.relnamespace and owner.relname = any($2::text[])
    )
"""


def backup(settings: Settings, to: Path | None, keep: int) -> None:
    """Write a backup with a progress bar, then print its path.

    Raises StartupError, Unavailable, BackupFailed.
    """
    with database.shared(settings) as dsn:
        folder = _default_folder(settings) if to is None else to.expanduser().resolve()
        dump, manifest, deleted = stopping.run(write_backup(dsn, settings.db, folder, keep))
        stopping.ignore_signals()
        print(
            f"memex: backed up {manifest.memories:,} memories to {dump} ({_size(manifest.bytes)})"
            + (f"; deleted {len(deleted)} older" if deleted else ""),
            flush=True,
        )


async def write_backup(
    dsn: str, settings: StoreSettings, folder: Path, keep: int
) -> tuple[Path, Manifest, list[Path]]:
    """Write a dump and its manifest, and delete surplus backups.

    Returns the dump's path, the manifest and the paths of the deleted dumps.
    Raises BackupFailed, MigrationRefused, Unavailable, BadSetting.
    """
    connection = await connect(dsn, settings)
    try:
        with database.named_failures(), _named_write_failures(folder), new_part(folder) as part:
            # One snapshot for both, so that the manifest matches the dump.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("set local idle_in_transaction_session_timeout = 0")
                await connection.execute("set local statement_timeout = 0")
                arguments, manifest = await _survey(connection)
                await _dump(dsn, arguments, part)
            manifest = manifest.model_copy(
                update={"sha256": await _checksum(part), "bytes": part.size()}
            )
            part.publish(manifest)
            return part.dump, manifest, _rotate(folder, keep, part.dump)
    finally:
        with suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await connection.close(timeout=settings.connect_timeout_s)


async def _survey(connection: asyncpg.Connection) -> tuple[list[str], Manifest]:
    """pg_dump's arguments, and the manifest without the dump's checksum and size."""
    schema = await tables.schema(connection)
    if schema is None:
        raise BackupFailed("the database has no tables of memex, so there is nothing to back up")
    migrations = [row["name"] for row in await connection.fetch(*sql.applied_migrations())]
    known = {migration.name for migration in read_migrations()}
    for name in migrations:
        if name not in known:
            raise MigrationRefused(
                f"the database has migration {name}, which this version of memex does not know: "
                "a newer version applied it. Back the database up with that version"
            )
    present = await tables.present(connection)
    generation = await connection.fetchrow(*sql.active_generation())
    foreign = await connection.fetch(_FOREIGN_RELATIONS, schema, present)
    arguments = [
        f"--snapshot={await connection.fetchval('select pg_export_snapshot()')}",
        f"--schema={_pattern(schema)}",
        "--extension=vector",
        *(f"--exclude-table={_pattern(schema)}.{_pattern(row['relname'])}" for row in foreign),
    ]
    return arguments, Manifest(
        sha256="0" * 64,
        bytes=0,
        memories=await connection.fetchval("select count(*) from memories"),
        migrations=tuple(migrations),
        embedding=EmbeddingModel(**dict(generation)) if generation else None,
        memex=importlib.metadata.version("memex-serve"),
        created_at=await connection.fetchval("select now()"),
    )


async def _dump(dsn: str, arguments: list[str], part: Part) -> None:
    with progress_bar(_LAYOUT, scaled=True) as progress:

        def on_line(line: str) -> None:
            if line.startswith("dumping contents of table"):
                progress.step(line.rpartition(".")[2].strip('"'), part.size())

        async def watch() -> None:
            while True:
                await asyncio.sleep(_POLL_INTERVAL_S)
                progress.show(part.size())

        async with pg_tools.running(
            "pg_dump",
            "--format=custom",
            "--encoding=UTF8",
            "--verbose",  # prints the name of each table that it begins
            "--no-password",
            f"--lock-wait-timeout={_LOCK_WAIT}",
            *arguments,
            env=pg_tools.environment(dsn),
            stdout=part.file,
        ) as pg_dump:
            watching = asyncio.create_task(watch())
            try:
                await pg_dump.listen(on_line)
            finally:
                watching.cancel()
        progress.show(part.size())


async def _checksum(part: Part) -> str:
    layout = "checking {bar:30} {n_fmt}/{total_fmt}"
    with progress_bar(layout, part.size(), scaled=True) as progress:
        return await sha256(part.path, progress.show)


@contextmanager
def _named_write_failures(folder: Path) -> Iterator[None]:
    """Raise failures to write to the folder as BackupFailed, in one line."""
    try:
        yield
    except (ConnectionError, TimeoutError):  # from the database
        raise
    except OSError as error:
        raise BackupFailed(f"{folder} cannot be written to ({error.strerror})") from None


def _rotate(folder: Path, keep: int, dump: Path) -> list[Path]:
    try:
        return rotate(folder, keep, dump, datetime.now(UTC).date())
    except OSError as error:
        raise BackupFailed(
            f"{dump} was written, but older backups cannot be deleted ({error.strerror})"
        ) from None


def _default_folder(settings: Settings) -> Path:
    """`backups` in the data folder.

    Claims the data folder first, because `memex serve` refuses one that holds other files. With a
    configured database it may not be claimed yet.
    """
    folder = DataFolder(settings.data_dir)
    with suppress(AlreadyRunning):
        folder.open()
        folder.close()
    return folder.backups


def _pattern(name: str) -> str:
    """`name` as a pattern of pg_dump that matches nothing else."""
    return '"' + name.replace('"', '""') + '"'


def _size(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB" if size >= 1024**2 else f"{size / 1024:,.1f} KiB"
