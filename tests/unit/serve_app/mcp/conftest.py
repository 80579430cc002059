from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from mcp import Client
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from serve_app.mcp import schemas
from serve_app.mcp.answering import ServiceBackend
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.server import build_server
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.mcp.calls import Connect
from tests.support.recorded import RecordedMetrics


@pytest.fixture
def service(embedder: FakeEmbedder, store: InMemoryStore, limits: tuple[int, int]) -> MemoryService:
    return MemoryService(
        embedder, store, writes_per_minute=limits[0], searches_per_minute=limits[1]
    )


@pytest.fixture
def server_for(
    service: MemoryService, metrics: RecordedMetrics
) -> Callable[[FixedScope], "Server[Any]"]:
    return lambda scope: build_server(ServiceBackend(service, metrics), lambda _: scope, "1.2.3")


@pytest.fixture
def connect(server_for: Callable[[FixedScope], "Server[Any]"]) -> Connect:
    """The SDK's client, in this process: `connect(agent_id="a", mode="legacy")`."""

    def connect_to(mode: str = "auto", **fixed: str) -> Client:
        return Client(server_for(FixedScope(**fixed)), mode=mode)

    return connect_to


@pytest.fixture
def sdk_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each request that the SDK handles. Also makes each new id twice, once for each
    of the two services under comparison."""
    calls: list[str] = []
    handle = StreamableHTTPSessionManager.handle_request

    async def recorded(
        manager: StreamableHTTPSessionManager, scope: Scope, receive: Receive, send: Send
    ) -> None:
        calls.append("sdk")
        await handle(manager, scope, receive, send)

    monkeypatch.setattr(StreamableHTTPSessionManager, "handle_request", recorded)
    ids: list[UUID] = []

    def same_id_twice() -> UUID:
        ids.append(ids[-1] if len(ids) % 2 else uuid4())
        return ids[-1]

    monkeypatch.setattr(schemas, "uuid7", same_id_twice)
    return calls
