import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.ray.service import Service

NO_LIMITS = {
    "MEMEX_RATE_LIMIT_WRITES_PER_MINUTE": "0",
    "MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE": "0",
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The whole service, running; without rate limits."""
    with (
        tempfile.TemporaryDirectory(prefix="memex-test-", ignore_cleanup_errors=True) as root,
        Service(Path(root), **NO_LIMITS).running() as service,
    ):
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.client() as client:
        yield client
