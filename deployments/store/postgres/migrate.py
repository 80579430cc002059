"""Applies `migrations/NNNN_name.sql`, each once, in order, under a lock, and records checksums."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deployments.domain.errors import DatabaseUnsuitable, MigrationRefused
from deployments.store.sql import sql

MIGRATIONS_DIR = Path(__file__).resolve().parents[3] / "migrations"
_FILE_NAME = re.compile(r"^(\d{4})_\w+\.sql$")
MIN_VECTOR_VERSION = (0, 8)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `checksum` is the sha256 of its text with `\\n` line ends."""

    version: int
    name: str
    text: str
    checksum: str


def read_migrations(folder: Path = MIGRATIONS_DIR) -> list[Migration]:
    """The folder's migrations, in order. Raises MigrationRefused if a number is missing or a file
    name is malformed."""
    migrations: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        version = len(migrations) + 1
        match = _FILE_NAME.match(path.name)
        if match is None or int(match[1]) != version:
            raise MigrationRefused(f"{path.name} is not the migration numbered {version:04d}")
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        migrations.append(Migration(version, path.stem, text, checksum))
    return migrations


async def migrate(
    connection: asyncpg.Connection,
    migrations: list[Migration],
    on_apply: Callable[[Migration], None] = lambda _migration: None,
) -> list[Migration]:
    """Apply the missing migrations in one transaction, and return them.

    Any number of processes may call this at once: they wait for one another. Raises
    MigrationRefused if an applied migration was edited or is unknown to this code, and
    DatabaseUnsuitable if pgvector is missing or too old, or the database user may not apply a
    migration.
    """
    try:
        async with connection.transaction():
            return await _migrate(connection, migrations, on_apply)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnsuitable(
            "the database user may not apply the migrations: grant it the right to create tables, "
            "and create the vector extension or let the user create it"
        ) from error


async def _migrate(
    connection: asyncpg.Connection,
    migrations: list[Migration],
    on_apply: Callable[[Migration], None],
) -> list[Migration]:
    await connection.execute(*sql.lock_migrations())
    await connection.execute(*sql.create_migrations_table())
    applied = {row["version"]: row for row in await connection.fetch(*sql.applied_migrations())}
    known = {migration.version: migration for migration in migrations}
    for version, row in applied.items():
        if version not in known:
            raise MigrationRefused(
                f"the database has migration {row['name']}, which this version of memex does "
                "not know: a newer version applied it. Run that version"
            )
        if row["checksum"] != known[version].checksum:
            raise MigrationRefused(
                f"migration {row['name']} was changed after it was applied. Restore the file "
                "and put the change into a new migration"
            )
    missing = [migration for migration in migrations if migration.version not in applied]
    for migration in missing:
        on_apply(migration)
        await _apply(connection, migration)
    await _check_vector(connection)
    return missing


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        await connection.execute(migration.text)
    except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError) as error:
        raise DatabaseUnsuitable(
            "the database server has no pgvector: install it (version 0.8 or later)"
        ) from error
    await connection.execute(
        *sql.record_migration(
            version=migration.version, name=migration.name, checksum=migration.checksum
        )
    )


async def _check_vector(connection: asyncpg.Connection) -> None:
    version = await connection.fetchval(*sql.vector_version())
    if version is None or tuple(int(n) for n in version.split(".")[:2]) < MIN_VECTOR_VERSION:
        raise DatabaseUnsuitable(
            f"the database has pgvector {version}; 0.8 or later is needed "
            "(ALTER EXTENSION vector UPDATE after installing it)"
        )
