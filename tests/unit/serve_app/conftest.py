import asyncio
import gc
from collections.abc import AsyncIterator

import httpx2
import pytest

from serve_app.rest.asgi import build_rest_app
from serve_app.services.memories import MemoryService
from serve_app.services.rate_quotas import RateQuotas
from tests.support.event_loop import turns
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore, in_memory_store
from tests.support.recorded import RecordedMetrics


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def store() -> InMemoryStore:
    return in_memory_store()


@pytest.fixture
def metrics() -> RecordedMetrics:
    return RecordedMetrics()


@pytest.fixture
def limits() -> tuple[int, int]:
    return (0, 0)


@pytest.fixture
async def client(
    embedder: FakeEmbedder, store: InMemoryStore, metrics: RecordedMetrics, limits: tuple[int, int]
) -> AsyncIterator[httpx2.AsyncClient]:
    async def exposition() -> str:
        return "memex_up 1\n"

    quotas = RateQuotas()
    store.rows.observe_quota = quotas.record
    service = MemoryService(
        embedder,
        store,
        writes_per_minute=limits[0],
        searches_per_minute=limits[1],
        quotas=quotas,
    )
    app = build_rest_app(service, metrics, exposition, ["memex.example.org"], "1.2.3")
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fail the test if it leaves a task or an unhandled exception."""
    loop = asyncio.get_running_loop()
    before, reports = asyncio.all_tasks(), []
    loop.set_exception_handler(lambda _loop, context: reports.append(context["message"]))
    gc.freeze()  # so that the collection below skips objects from before the test
    yield
    await turns()
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    gc.collect()
    gc.unfreeze()
    loop.set_exception_handler(None)
    assert not leaked
    assert reports == []
