from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer

from tests.support.fakes.memex import FakeMemex


@pytest.fixture
async def memex() -> AsyncIterator[FakeMemex]:
    fake = FakeMemex()
    async with TestServer(fake.app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake
