import pytest

from deployments.store.postgres.pool import Pool
from deployments.store.store import PostgresStore, build_store
from tests.support.postgres.indexing import LARGE_FROM_100


@pytest.fixture
def store(pool: Pool) -> PostgresStore:
    return build_store(pool, LARGE_FROM_100)
