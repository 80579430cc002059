"""The database that a command works on: the configured one, or the embedded one."""

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

_LOOK_EVERY_S = 0.2

LEAVE_TIMEOUT_S = 3.0
"""How long a session that has ended may take to leave the server's list."""


@contextlib.contextmanager
def reached(settings: Settings) -> Iterator[str]:
    """Its address: the configured one, the running service's, or one started for this.

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
def alone(settings: Settings) -> Iterator[str]:
    """The same without a service beside us, and in a new data folder where there is none yet. Who
    else uses a configured database is for the caller to look at.

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
    """How many other sessions of the same user stay in the database for `leave_timeout_s`. Our own
    earlier ones leave by then; a running service always has one, since its store looks for work
    every few seconds. Other users of the server are none of ours."""
    deadline = time.monotonic() + leave_timeout_s
    while sessions := await connection.fetchval(*sql.count_other_sessions()):
        if time.monotonic() > deadline:
            return int(sessions)
        await asyncio.sleep(_LOOK_EVERY_S)
    return 0


@contextlib.contextmanager
def named_failures() -> Iterator[None]:
    """Turns what the driver raises into BackupFailed or Unavailable, in one line each."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise BackupFailed("the database is in use: stop memex first") from error
    except asyncpg.PostgresError as error:
        if is_server_trouble(error):
            raise Unavailable("database") from error
        raise BackupFailed(f"the database refuses: {str(error).splitlines()[0]}") from error
    except (asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
        raise Unavailable("database") from error


@contextlib.contextmanager
def _started(folder: DataFolder) -> Iterator[str]:
    """Over a folder that is open, and is closed in the end."""
    with contextlib.ExitStack() as undo:
        undo.callback(folder.close)
        postgres = EmbeddedPostgres(folder)
        undo.callback(postgres.stop)
        postgres.start()
        yield postgres.dsn
