"""Fixtures of the tests against Postgres: repeatable data, a large scope, a recording store."""

from collections.abc import AsyncIterator

import pytest

from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import build_store
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.postgres import databases, memories
from tests.support.postgres.memories import LargeScope, RecordingStore


@pytest.fixture(autouse=True)
def repeatable_data() -> None:
    memories.reset_random()


@pytest.fixture(scope="session")
async def large_template(postgres: EmbeddedPostgres, template: str) -> LargeScope:
    dsn = await databases.create(postgres, "memex_large_template", template)
    memories.reset_random()
    pool = Pool(dsn, StoreSettings())
    store = build_store(pool, StoreSettings())
    texts = memories.sentences(3_000)
    _, vectors, generation = await memories.fill(store, 3_000, contents=texts)
    await memories.put_in_index(store)
    async with pool.acquire() as connection:
        await connection.execute("analyze memories")
    await pool.close()
    state = memories.RANDOM.bit_generator.state
    return LargeScope("memex_large_template", vectors, generation, state)


@pytest.fixture
async def large_dsn(
    postgres: EmbeddedPostgres, large_template: LargeScope, repeatable_data: None
) -> AsyncIterator[str]:
    """The DSN of a new database with the scope of `large_template`."""
    memories.RANDOM.bit_generator.state = large_template.random_state
    async with databases.new(postgres, large_template.template) as dsn:
        yield dsn


@pytest.fixture
async def large_pool(large_dsn: str) -> AsyncIterator[Pool]:
    pool = Pool(large_dsn, StoreSettings())
    yield pool
    await pool.close()


@pytest.fixture
async def recording_store(dsn: str) -> AsyncIterator[RecordingStore]:
    names: list[str] = []

    def observe(name: str, _duration_s: float) -> None:
        if name.startswith("search"):
            names.append(name)

    pool = Pool(dsn, memories.LARGE_FROM_500, observe=observe)
    yield RecordingStore(names, build_store(pool, memories.LARGE_FROM_500))
    await pool.close()
