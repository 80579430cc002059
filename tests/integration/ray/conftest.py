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


@pytest.fixture(scope="session")
def one_service() -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory(prefix="memex-test-", ignore_cleanup_errors=True) as root,
        Service(Path(root), **NO_LIMITS).running() as service,
    ):
        yield service


@pytest.fixture
def service(one_service: Service) -> Service:
    """The whole service, running, for all tests that change no setting; without rate limits."""
    if not one_service.is_running():  # a test before has ended it
        one_service.kill()
        one_service.start()
    return one_service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.client() as client:
        yield client
