"""Fixtures of several suites: the model, a real Postgres server, a database for each test."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.postgres import databases
from tests.support.postgres.databases import connected

_SERVICES = "tests/integration/ray/"
_IN_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 * 1024**3


def pytest_configure() -> None:
    _put_temporary_folders_in_memory()
    # A shell starts background programs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each reason to skip: how many tests, in which files."""
    reasons: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    for reason, nodeids in reasons.items():
        files = sorted({Path(nodeid.partition("::")[0]).name for nodeid in nodeids})
        terminalreporter.write_line(f"skipped {len(nodeids)} in {', '.join(files)}: {reason}")


def _put_temporary_folders_in_memory() -> None:
    """Use /dev/shm if it has room, because each database is hundreds of files."""
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK):
        return
    if shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES:
        os.environ["TMPDIR"] = str(_IN_MEMORY)
        tempfile.tempdir = None  # so that tempfile reads TMPDIR again


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Runs a file's tests in one process, and all tests of whole services in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return _SERVICES if nodeid.startswith(_SERVICES) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _remove_settings_from_environment() -> None:
    for name in [name for name in os.environ if name.startswith("MEMEX_")]:
        del os.environ[name]
    os.environ.pop("DATABASE_URL", None)


@pytest.fixture(scope="session")
def models_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="memex-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def encoder(models_dir: Path) -> Encoder:
    """The default model, int8."""
    return load_encoder(EmbeddingSettings(), models_dir)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A real server, not below pytest's temporary folder, which only its owner can enter."""
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        folder = DataFolder(Path(root))
        folder.open()
        server = EmbeddedPostgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
            folder.close()


@pytest.fixture(scope="session")
async def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database, which the tests' databases are copies of."""
    async with connected(await databases.create(postgres, "memex_template")) as connection:
        await migrate(connection, read_migrations())
    return "memex_template"


@pytest.fixture
async def empty_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The DSN of a new database without tables."""
    async with databases.new(postgres) as dsn:
        yield dsn


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The DSN of a new database with all migrations applied."""
    async with databases.new(postgres, template) as dsn:
        yield dsn


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    pool = Pool(dsn, StoreSettings())
    yield pool
    await pool.close()


@pytest.fixture
def postgres_store(pool: Pool) -> PostgresStore:
    return build_store(pool, StoreSettings())
