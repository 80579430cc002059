"""For the tests against Postgres."""

from collections.abc import AsyncIterator

import pytest

from deployments.store.postgres.pool import Pool
from deployments.store.store import build_store
from tests.support.postgres import memories
from tests.support.postgres.memories import RecordingStore


@pytest.fixture(autouse=True)
def same_data() -> None:
    memories.start_anew()


@pytest.fixture
async def recording_store(dsn: str) -> AsyncIterator[RecordingStore]:
    names: list[str] = []

    def observe(name: str, _duration_s: float) -> None:
        if name.startswith("search"):
            names.append(name)

    pool = Pool(dsn, memories.FEW, observe=observe)
    yield RecordingStore(names, build_store(pool, memories.FEW))
    await pool.close()
