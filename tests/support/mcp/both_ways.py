"""Requests answered by the SDK and directly; both answers must be equal."""

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from serve_app.mcp.answering import ServiceBackend
from serve_app.mcp.asgi import build_mcp_app, scope_of_request
from serve_app.mcp.server import build_server
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import in_memory_store
from tests.support.recorded import RecordedMetrics

NEWEST = "2026-07-28"
OLDER = "2025-11-25"
VERSIONS = pytest.mark.parametrize("version", [NEWEST, OLDER])
SCOPE: dict[str, Any] = {"agent_id": "a", "user_id": "u"}
PREFIX = "io.modelcontextprotocol/"
META = {
    f"{PREFIX}protocolVersion": NEWEST,
    f"{PREFIX}clientCapabilities": {"roots": {}, "elicitation": {"form": {}}},
    f"{PREFIX}clientInfo": {"name": "c", "version": "1", "title": "C"},
}
Headers = dict[str, str]


def _fixed_time() -> datetime:
    """The same time for both services, so that their answers are equal."""
    return datetime(2026, 11, 21, 12, tzinfo=UTC)


class Side:
    """A service and its MCP application."""

    def __init__(self, limits: tuple[int, int]) -> None:
        self.embedder, self.store, self.metrics = (
            FakeEmbedder(),
            in_memory_store(_fixed_time),
            RecordedMetrics(),
        )
        self.service = MemoryService(
            self.embedder, self.store, writes_per_minute=limits[0], searches_per_minute=limits[1]
        )
        self.app: Starlette
        self.http: httpx2.AsyncClient

    @asynccontextmanager
    async def serving(self, is_direct: bool) -> AsyncIterator[None]:
        backend = ServiceBackend(self.service, self.metrics)
        server = build_server(backend, scope_of_request, "1.2.3")
        direct_backend = backend if is_direct else None
        self.app = build_mcp_app(server, self.metrics, [], [], direct_backend)
        transport = httpx2.ASGITransport(self.app, root_path="/mcp")
        async with (
            self.app.router.lifespan_context(self.app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as self.http,
        ):
            yield


class Both:
    """Sends each request to two services: one has only the SDK, the other may answer directly.

    `sdk_calls` has an entry for each request that the SDK handled.
    """

    def __init__(self, sdk_calls: list[str], limits: tuple[int, int] = (0, 0)) -> None:
        self.sdk_calls = sdk_calls
        self.sides = [Side(limits), Side(limits)]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Both"]:
        plain, direct = self.sides
        async with plain.serving(is_direct=False), direct.serving(is_direct=True):
            yield self

    async def post(
        self, body: Any, headers: Headers | list[tuple[str, str]], pieces: int = 1
    ) -> tuple[httpx2.Response, str]:
        """The answer, equal from both services, and its handler in the second: `sdk` or `direct`.

        `body` is a message or raw bytes, sent in as many chunks as `pieces`.
        """
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answers = []
        for side in self.sides:
            self.sdk_calls.clear()
            content = raw if pieces == 1 else _in_pieces(raw, pieces)
            answers.append(await side.http.post("/mcp", content=content, headers=headers))
        first, second = answers
        assert second.status_code == first.status_code, (first.text, second.text)
        assert _headers(second) == _headers(first)
        assert _body(second) == _body(first)
        plain, direct = (side.metrics for side in self.sides)
        assert direct.answers == plain.answers
        assert direct.tools == plain.tools
        assert direct.limited == plain.limited
        return second, "sdk" if self.sdk_calls else "direct"

    async def call(
        self, version: str | None, name: str, /, *, headers: Headers | None = None, **arguments: Any
    ) -> Any:
        """The result of an ordinary call, which must be answered directly."""
        all_headers = headers_of(version, name) | (headers or {})
        answer, handler = await self.post(message(version, name, arguments), all_headers)
        assert (answer.status_code, handler) == (200, "direct")
        return answer.json()["result"]


def headers_of(version: str | None, name: str) -> Headers:
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    if version is not None:
        headers["mcp-protocol-version"] = version
    if version == NEWEST:
        headers |= {"mcp-method": "tools/call", "mcp-name": name}
    return headers


def message(version: str | None, name: str, arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    if version == NEWEST:
        params["_meta"] = copy.deepcopy(META)
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def count_message(version: str | None) -> dict[str, Any]:
    """A valid call of count_memories."""
    return message(version, "count_memories", {"agent_id": "a"})


async def _in_pieces(body: bytes, pieces: int) -> AsyncIterator[bytes]:
    size = len(body) // pieces + 1
    for start in range(0, len(body), size):
        yield body[start : start + size]


def _headers(answer: httpx2.Response) -> Headers:
    """The headers without the content length, which must fit the body. The lengths may differ,
    because the SDK escapes non-ASCII text in some versions."""
    headers = dict(answer.headers)
    assert int(headers.pop("content-length")) == len(answer.content)
    return headers


def _body(answer: httpx2.Response) -> Any:
    if answer.headers.get("content-type") == "application/json" and answer.content:
        return answer.json()
    return answer.content
