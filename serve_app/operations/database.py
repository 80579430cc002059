"""The database that a command works on: the configured or the embedded one."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator

import asyncpg

from deployments.domain.errors import AlreadyRunning, BackupFailed, BadSetting, Unavailable
from deployments.store.postgres.pool import is_server_trouble
from deployments.store.sql import sql
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.settings import DATABASE_URL, Settings

_POLL_INTERVAL_S = 0.2

LEAVE_TIMEOUT_S = 3.0
"""How long the server may list a session that has ended."""


@contextlib.contextmanager
def shared(settings: Settings) -> Iterator[str]:
    """The address of the database, which a running service may use: the configured one, the running
    service's embedded one, or one started for the block.

    Raises StartupError.
    """
    if dsn := os.environ.get(DATABASE_URL):
        yield dsn
        return
    folder = DataFolder(settings.data_dir)
    if not folder.postgres.exists():
        raise BadSetting(f"MEMEX_DATA_DIR: {folder.root} holds no memories")
    try:
        folder.open()
    except AlreadyRunning:
        yield EmbeddedPostgres(folder).dsn
        return
    with _started(folder) as dsn:
        yield dsn


@contextlib.contextmanager
def exclusive(settings: Settings) -> Iterator[str]:
    """As `shared`, but refuses while a service uses the data folder, and creates a missing folder.
    The caller must check whether anyone else uses a configured database.

    Raises StartupError, AlreadyRunning among them.
    """
    if dsn := os.environ.get(DATABASE_URL):
        yield dsn
        return
    folder = DataFolder(settings.data_dir)
    folder.open()
    with _started(folder) as dsn:
        yield dsn


async def other_sessions(connection: asyncpg.Connection, leave_timeout_s: float) -> int:
    """The number of other sessions of the same database user that remain after `leave_timeout_s`.

    Our own earlier sessions have left by then. A running service always has one, because its store
    polls for work every few seconds. Sessions of other database users do not count.
    """
    deadline = time.monotonic() + leave_timeout_s
    while sessions := await connection.fetchval(*sql.count_other_sessions()):
        if time.monotonic() > deadline:
            return int(sessions)
        await asyncio.sleep(_POLL_INTERVAL_S)
    return 0


@contextlib.contextmanager
def named_failures() -> Iterator[None]:
    """Raise the driver's errors as BackupFailed or Unavailable, in one line each."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise BackupFailed("the database is in use: stop memex first") from error
    except asyncpg.PostgresError as error:
        if is_server_trouble(error):
            raise Unavailable("database") from error
        raise BackupFailed(
            f"the database returned an error: {str(error).splitlines()[0]}"
        ) from error
    except (asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
        raise Unavailable("database") from error


@contextlib.contextmanager
def _started(folder: DataFolder) -> Iterator[str]:
    """Run the embedded Postgres over an open folder; close the folder after the block."""
    with contextlib.ExitStack() as undo:
        undo.callback(folder.close)
        postgres = EmbeddedPostgres(folder)
        undo.callback(postgres.stop)
        postgres.start()
        yield postgres.dsn
