from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser

from tests.support.ray.browser import Console, launched, opened
from tests.support.ray.service import NO_LIMITS, Service, fresh

_HERE = Path(__file__).parent

# A pass makes something of a handful of memories.
SMALL_SUMMARIES = {"MEMEX_SUMMARIZATION_THRESHOLD": "5", "MEMEX_SUMMARIZATION_BATCH_SIZE": "3"}


class Shared:
    """One service for modules that follow each other, since a start takes its time."""

    def __init__(self) -> None:
        self._service: Service | None = None
        self._stack = ExitStack()

    def running(self) -> Service:
        if self._service is None or not self._service.is_running():
            self.stop()
            self._service = self._stack.enter_context(fresh(**NO_LIMITS, **SMALL_SUMMARIES))
        return self._service

    def stop(self) -> None:
        self._stack.close()
        self._service = None


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    shared = Shared()
    yield shared
    shared.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares the service comes last, in one piece."""

    def shares(item: pytest.Item) -> bool:
        fixtures = set(getattr(item, "fixturenames", ()))
        return item.path.parent == _HERE and {"service", "alone"} & fixtures == {"service"}

    items.sort(key=shares)


@pytest.fixture(scope="module")
def alone(shared: Shared) -> None:
    """For modules that start services of their own: there is none beside them."""
    shared.stop()


@pytest.fixture(scope="module")
def service(shared: Shared) -> Service:
    """The whole service, running; without rate limits."""
    return shared.running()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with service.client() as client:
        yield client


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest.fixture
async def console(browser: Browser, service: Service) -> AsyncIterator[Console]:
    """The console, in a page of its own."""
    async with opened(browser) as page:
        yield Console(page, service.url)
