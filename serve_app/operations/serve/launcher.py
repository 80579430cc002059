"""`memex serve`: starts Postgres, the model, Ray and the graph in order, and stops all of them."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from types import FrameType

import asyncpg

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import DatabaseUnsuitable, StartupError, Unavailable
from deployments.embedder.encoders.load import load_encoder
from deployments.runtime import tracing
from deployments.store.generations.active import GenerationRepository, active_identity
from deployments.store.postgres.migrate import Migration, migrate, read_migrations
from deployments.store.postgres.pool import Pool, Prepare
from serve_app.graph import wanted_nodes
from serve_app.operations.http import NoAnswer, get
from serve_app.operations.machine import processes
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.operations.progress import progress_bar
from serve_app.operations.running import api_url
from serve_app.operations.serve import stored_model
from serve_app.operations.serve.cluster import LocalCluster
from serve_app.settings import DATABASE_URL, Settings

_READY_TIMEOUT_S = 60.0
_WATCH_INTERVAL_S = 1.0
_RESTART_PAUSE_S = 5.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


_stopping = threading.Event()


class _Stopped(BaseException):
    """A stop signal was received."""


def serve(settings: Settings) -> None:
    """Run the service until SIGINT, SIGTERM or SIGHUP. Raises StartupError if it cannot start."""
    with _signals_as_stop(), contextlib.ExitStack() as undo:
        try:
            _run(settings, undo)
        except _Stopped:
            _report("stopping")
        finally:
            _ignore_signals()


def _run(settings: Settings, undo: contextlib.ExitStack) -> None:
    tracing.check()
    processes.adopt_orphans()
    folder = DataFolder(settings.data_dir)
    folder.open()
    undo.callback(folder.close)
    cluster = LocalCluster(settings, folder)
    cluster.clean_up_leftovers()
    cluster.check_ports()

    postgres = None
    dsn = os.environ.get(DATABASE_URL)
    if not dsn:
        _report("starting Postgres")
        postgres = EmbeddedPostgres(folder)
        undo.callback(postgres.stop)
        postgres.start()
        dsn = postgres.dsn
    # Before Ray, which takes longest, so that failures here are reported at once.
    stored = asyncio.run(_prepare_database(dsn, settings))
    _check_stopped()
    if stored is not None and not stored_model.is_set(settings):
        settings = stored_model.with_model(settings, stored)
        os.environ.update(stored_model.variables(stored))  # for the replicas, too
    identity = _prepare_model(settings)
    for node in wanted_nodes(settings):
        if node.prepare is not None:
            node.prepare(settings, _report)
    asyncio.run(_adopt_model(dsn, settings, identity))
    _check_stopped()

    if not cluster.has_haproxy:
        _report("HAProxy is not used: Ray's own proxy serves, at a lower rate")
    os.environ.update(cluster.environment(dsn))
    undo.callback(cluster.stop)
    cluster.start(_report)
    cluster.deploy(_report)
    url = api_url(settings)
    _wait_until_healthy(url)
    print(_banner(settings, folder, url), flush=True)
    while True:
        time.sleep(_WATCH_INTERVAL_S)
        _check_stopped()
        if not cluster.is_running():
            raise StartupError(f"Ray has ended unexpectedly; see {cluster.logs}")
        if postgres is not None:
            _keep_running(postgres)


def _keep_running(postgres: EmbeddedPostgres) -> None:
    try:
        if postgres.ensure_running():
            _report("Postgres had stopped and was restarted")
    except StartupError as error:
        _report(f"{error}; trying again")
        time.sleep(_RESTART_PAUSE_S)


def _prepare_model(settings: Settings) -> ModelIdentity:
    with progress_bar("model {desc} {bar:30} {n_fmt}/{total_fmt}", always=True) as progress:
        progress.step("loading", 0, 1)
        encoder = load_encoder(settings.embedding, settings.models_dir, progress=progress.step)
        encoder.encode(["warm"], "query")
        progress.step("ready", 1, 1)
    return encoder.identity


async def _prepare_database(dsn: str, settings: Settings) -> ModelIdentity | None:
    """Apply the migrations; the model of the stored memories."""

    def report(migration: Migration) -> None:
        _report(f"applying migration {migration.name}")

    async def prepare(connection: asyncpg.Connection) -> None:
        await migrate(connection, read_migrations(), report)

    async with _pool(dsn, settings, prepare) as pool, pool.acquire() as connection:
        return await active_identity(connection)


async def _adopt_model(dsn: str, settings: Settings, identity: ModelIdentity) -> None:
    async with _pool(dsn, settings) as pool:
        await GenerationRepository(pool).adopt_generation(identity)


@contextlib.asynccontextmanager
async def _pool(
    dsn: str, settings: Settings, prepare: Prepare | None = None
) -> AsyncIterator[Pool]:
    """An open pool. Raises StartupError if the database fails."""
    pool = Pool(dsn, settings.db, prepare)
    try:
        await pool.open()
        yield pool
    except Unavailable:
        raise StartupError(
            "the database does not answer, or the user of DATABASE_URL may not connect or write"
        ) from None
    except asyncpg.PostgresError as error:
        raise DatabaseUnsuitable(f"the database cannot be used: {error}") from error
    finally:
        await pool.close()


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        try:
            # A Host that is always allowed.
            answer = get(f"{url}/health", headers={"Host": "localhost"})
            if answer.status == HTTPStatus.OK:
                return
            reason = f"status {answer.status}"
        except NoAnswer as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise StartupError(f"the API does not answer at {url}: {reason}")
        time.sleep(0.1)


def _banner(settings: Settings, folder: DataFolder, url: str) -> str:
    token = f"   (its token: {folder.ray_token})" if folder.ray_token.exists() else ""
    return f"""
memex is ready
  API        {url}
  API docs   {url}/docs
  MCP        {url}/mcp
  Dashboard  http://127.0.0.1:{settings.dashboard_port}{token}
  Data       {folder.root}
Ctrl-C stops all of it.
"""


def _report(text: str) -> None:
    # Not sys.stderr, which is redirected while Ray might print to it.
    print(f"memex: {text}", file=sys.__stderr__, flush=True)


@contextlib.contextmanager
def _signals_as_stop() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    for number, handler in handlers.items():
        if (number, handler) != (signal.SIGHUP, signal.SIG_IGN):  # nohup ignores SIGHUP
            signal.signal(number, _on_signal)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if not _stopping.is_set():  # later signals must not interrupt the stop
        _stopping.set()
        raise _Stopped


def _check_stopped() -> None:
    """Raise _Stopped again: asyncio and finalizers swallow what a signal handler raises in them."""
    if _stopping.is_set():
        raise _Stopped


def _ignore_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
