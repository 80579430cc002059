import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest

from serve_app.rest.asgi import build_rest_app
from serve_app.service import MemoryService
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.store import InMemoryStore


class Recorded:
    """The application's metrics, as lists."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str, int]] = []
        self.limited: list[str] = []
        self.tools: list[tuple[str, bool]] = []

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        assert duration_s >= 0
        self.answers.append((method, route, status))

    def rate_limited(self, operation: str) -> None:
        self.limited.append(operation)

    def tool_called(self, tool: str, is_error: bool, duration_s: float) -> None:
        assert duration_s >= 0
        self.tools.append((tool, is_error))


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


@pytest.fixture
def metrics() -> Recorded:
    return Recorded()


@pytest.fixture
def limits() -> tuple[int, int]:
    return (0, 0)


@pytest.fixture
async def client(
    embedder: FakeEmbedder, store: InMemoryStore, metrics: Recorded, limits: tuple[int, int]
) -> AsyncIterator[httpx.AsyncClient]:
    async def exposition() -> str:
        return "memex_up 1\n"

    service = MemoryService(embedder, store, *limits)
    app = build_rest_app(service, metrics, exposition, ["memex.example.org"], "1.2.3")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """No test leaves a task, or an exception that nobody has seen."""
    loop = asyncio.get_running_loop()
    before, complaints = asyncio.all_tasks(), []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    gc.freeze()  # what was there before the test is not searched for its garbage
    yield
    await turns()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    gc.collect()
    gc.unfreeze()
    loop.set_exception_handler(None)
    assert not left
    assert complaints == []


async def turns(count: int = 20) -> None:
    """Turns of the event loop: all that can go on without a call being answered does."""
    for _ in range(count):
        await asyncio.sleep(0)
