"""Both stores, Postgres and in memory: each test runs against each of them."""

import pytest

from deployments.domain.overview import CountBounds
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import Quota
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import Tuning, build_store
from tests.support.contract import Scope
from tests.support.fakes.embedder import IDENTITY
from tests.support.fakes.store import in_memory_store

# Low, so that a test reaches each bound with few memories.
BOUNDS = CountBounds(per_tally=3, per_timeline=4)
EXPORT_PAGE_ROWS = 3


@pytest.fixture(params=["in memory", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, pool: Pool) -> BatchedStore:
    if kind == "in memory":
        return in_memory_store()
    return build_store(pool, StoreSettings(), tuning=Tuning(export_page_rows=EXPORT_PAGE_ROWS))


@pytest.fixture
def quotas() -> list[Quota]:
    """What `counting_store` reports."""
    return []


@pytest.fixture
def counting_store(kind: str, pool: Pool, quotas: list[Quota]) -> BatchedStore:
    if kind == "in memory":
        return in_memory_store(observe_quota=quotas.append)
    return build_store(pool, StoreSettings(), observe_quota=quotas.append)


@pytest.fixture
def store_with_low_bounds(kind: str, pool: Pool) -> BatchedStore:
    if kind == "in memory":
        return in_memory_store(bounds=BOUNDS)
    return build_store(pool, StoreSettings(), tuning=Tuning(counts=BOUNDS))


@pytest.fixture
async def scope(store: BatchedStore) -> Scope:
    return Scope(store, await store.generations.adopt_generation(IDENTITY), "agent", "user")
