"""Fixtures that several suites share: the model, a real Postgres, a database for each test."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
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
    """A real server in a folder of its own; not below pytest's, which only its owner may enter."""
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
    """The name of a migrated database that others are copied from."""
    async with connected(await databases.create(postgres, "memex_template")) as connection:
        await migrate(connection, read_migrations())
    return "memex_template"


@pytest.fixture
async def empty_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A new database without tables."""
    async with databases.new(postgres) as dsn:
        yield dsn


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A new database with all migrations."""
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
