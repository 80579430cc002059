"""`memex backup`: pg_dump's snapshot of all memories, in a file; the service may be running."""

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
from serve_app.operations.backup.files import EmbeddingModel, Manifest, Part, part, rotate, sha256
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.progress import progress_bar
from serve_app.settings import Settings

_LOOK_EVERY_S = 0.2
_LOCK_WAIT = "60s"
_LAYOUT = "backing up {desc} {n_fmt}B written in {elapsed}"

# Of the same schema, but not ours: those of another application, which the user of the database
# may not even be allowed to read. ($1 schema, $2 our tables)
_OTHERS = """
select relname from pg_class c
where relnamespace = (select oid from pg_namespace where nspname = $1)
    and relkind in ('r', 'p', 'v', 'm', 'f', 'S') and relname <> all($2::text[])
    and not exists (  -- numbers a column of ours
        select from pg_depend join pg_class owner on owner.oid = refobjid
        where classid = 'pg_class'::regclass and objid = c.oid and deptype in ('a', 'i')
            and owner.relnamespace = c.relnamespace and owner.relname = any($2::text[])
    )
"""


def backup(settings: Settings, to: Path | None, keep: int) -> None:
    """With its progress shown, and in the end the line that says where it is.

    Raises StartupError, Unavailable, BackupFailed.
    """
    with database.reached(settings) as dsn:
        folder = _default_folder(settings) if to is None else to.expanduser().resolve()
        dump, manifest, old = stopping.run(write_backup(dsn, settings.db, folder, keep))
        stopping.too_late()
        print(
            f"memex: backed up {manifest.memories:,} memories to {dump} ({_size(manifest.bytes)})"
            + (f"; deleted {len(old)} older" if old else ""),
            flush=True,
        )


async def write_backup(
    dsn: str, settings: StoreSettings, folder: Path, keep: int
) -> tuple[Path, Manifest, list[Path]]:
    """The dump, what is said beside it, and the older ones that were deleted for it.

    Raises BackupFailed, MigrationRefused, Unavailable, BadSetting.
    """
    connection = await connect(dsn, settings)
    try:
        with database.named_failures(), _writing_to(folder), part(folder) as written:
            # One snapshot for all: what the manifest says is what the dump holds.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("set local idle_in_transaction_session_timeout = 0")
                await connection.execute("set local statement_timeout = 0")
                arguments, manifest = await _survey(connection)
                await _dump(dsn, arguments, written)
            manifest = manifest.model_copy(
                update={"sha256": await _checksum(written), "bytes": written.size()}
            )
            written.publish(manifest)
            return written.dump, manifest, _rotate(folder, keep, written.dump)
    finally:
        with suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await connection.close(timeout=settings.connect_timeout_s)


async def _survey(connection: asyncpg.Connection) -> tuple[list[str], Manifest]:
    """What pg_dump is to be asked for, and what will be said of it."""
    schema = await tables.schema(connection)
    if schema is None:
        raise BackupFailed("the database holds no memories: it has no tables of memex")
    migrations = [row["name"] for row in await connection.fetch(*sql.applied_migrations())]
    known = {migration.name for migration in read_migrations()}
    for name in migrations:
        if name not in known:
            raise MigrationRefused(
                f"the database has migration {name}, which this version of memex does not know: "
                "it was written by a newer one. Back it up with that one"
            )
    present = await tables.present(connection)
    generation = await connection.fetchrow(*sql.active_generation())
    others = await connection.fetch(_OTHERS, schema, present)
    arguments = [
        f"--snapshot={await connection.fetchval('select pg_export_snapshot()')}",
        f"--schema={_pattern(schema)}",
        "--extension=vector",
        *(f"--exclude-table={_pattern(schema)}.{_pattern(row['relname'])}" for row in others),
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


async def _dump(dsn: str, arguments: list[str], written: Part) -> None:
    with progress_bar(_LAYOUT, scaled=True) as progress:

        def on_line(line: str) -> None:
            if line.startswith("dumping contents of table"):
                progress.step(line.rpartition(".")[2].strip('"'), written.size())

        async def watch() -> None:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                progress.show(written.size())

        async with pg_tools.running(
            "pg_dump",
            "--format=custom",
            "--encoding=UTF8",
            "--verbose",  # says which table it has come to
            "--no-password",
            f"--lock-wait-timeout={_LOCK_WAIT}",
            *arguments,
            env=pg_tools.environment(dsn),
            stdout=written.file,
        ) as pg_dump:
            watching = asyncio.create_task(watch())
            try:
                await pg_dump.listen(on_line)
            finally:
                watching.cancel()
        progress.show(written.size())


async def _checksum(written: Part) -> str:
    layout = "checking {bar:30} {n_fmt}/{total_fmt}"
    with progress_bar(layout, written.size(), scaled=True) as progress:
        return await sha256(written.path, progress.show)


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, TimeoutError):  # the database's
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
    """In the data folder, which is made ours first where a database was configured from the start:
    `memex serve` touches no folder that has a stranger's things."""
    folder = DataFolder(settings.data_dir)
    with suppress(AlreadyRunning):
        folder.open()
        folder.close()
    return folder.backups


def _pattern(name: str) -> str:
    """A name that pg_dump takes as it is."""
    return '"' + name.replace('"', '""') + '"'


def _size(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB" if size >= 1024**2 else f"{size / 1024:,.1f} KiB"
