"""For the tests against Postgres."""

from collections.abc import AsyncIterator

import pytest

from deployments.store.pool import Pool
from deployments.store.repository import PostgresMemoryStore
from tests.integration.postgres import data


@pytest.fixture(autouse=True)
def same_data() -> None:
    data.start_anew()


@pytest.fixture
async def made(dsn: str) -> AsyncIterator[tuple[list[str], PostgresMemoryStore]]:
    """A store, and the names of the statements that its searches made."""
    names: list[str] = []

    def observe(name: str, _duration_s: float) -> None:
        if name.startswith("search"):
            names.append(name)

    pool = Pool(dsn, data.FEW, observe=observe)
    yield names, PostgresMemoryStore(pool, data.FEW)
    await pool.close()
