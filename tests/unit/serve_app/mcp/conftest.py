import datetime
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from mcp import Client
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CallToolResult, TextContent
from starlette.types import Receive, Scope, Send

from serve_app.mcp import schemas
from serve_app.mcp.answering import ServiceBackend
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.server import build_server
from serve_app.service import MemoryService
from tests.fakes import rows, searches, store
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.store import InMemoryStore
from tests.unit.serve_app.conftest import Recorded

Connect = Callable[..., Client]


@pytest.fixture
def service(embedder: FakeEmbedder, store: InMemoryStore, limits: tuple[int, int]) -> MemoryService:
    return MemoryService(embedder, store, *limits)


@pytest.fixture
def server_for(service: MemoryService, metrics: Recorded) -> Callable[[FixedScope], "Server[Any]"]:
    return lambda scope: build_server(ServiceBackend(service, metrics), lambda _: scope, "1.2.3")


@pytest.fixture
def connect(server_for: Callable[[FixedScope], "Server[Any]"]) -> Connect:
    """The SDK's client, in this process: `connect(agent_id="a", mode="legacy")`."""

    def connected(mode: str = "auto", **fixed: str) -> Client:
        return Client(server_for(FixedScope(**fixed)), mode=mode)

    return connected


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def given(result: CallToolResult) -> dict[str, Any]:
    """The structured answer of a call that succeeded."""
    assert not result.is_error, text(result)
    assert result.structured_content is not None
    return result.structured_content


@pytest.fixture
def went(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Has a word for each request that came to the SDK. The time stands still, and every id is
    made twice: once for each of the services that are compared."""
    calls: list[str] = []
    handle = StreamableHTTPSessionManager.handle_request

    async def noted(
        manager: StreamableHTTPSessionManager, scope: Scope, receive: Receive, send: Send
    ) -> None:
        calls.append("sdk")
        await handle(manager, scope, receive, send)

    class Still(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Still":
            return cls(2026, 11, 21, 12, tzinfo=tz)

    monkeypatch.setattr(StreamableHTTPSessionManager, "handle_request", noted)
    for module in (rows, searches, store):
        monkeypatch.setattr(module, "datetime", Still)
    made: list[UUID] = []

    def new_id() -> UUID:
        made.append(made[-1] if len(made) % 2 else uuid4())
        return made[-1]

    monkeypatch.setattr(schemas, "new_id", new_id)
    return calls
