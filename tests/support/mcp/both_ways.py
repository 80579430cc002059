"""Requests sent both ways, past the SDK and through it, and what has to be alike."""

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
MINE: dict[str, Any] = {"agent_id": "a", "user_id": "u"}
PREFIX = "io.modelcontextprotocol/"
META = {
    f"{PREFIX}protocolVersion": NEWEST,
    f"{PREFIX}clientCapabilities": {"roots": {}, "elicitation": {"form": {}}},
    f"{PREFIX}clientInfo": {"name": "c", "version": "1", "title": "C"},
}
Headers = dict[str, str]


def _still() -> datetime:
    """Both sides answer at the same time."""
    return datetime(2026, 11, 21, 12, tzinfo=UTC)


class Side:
    """A service with an application over it."""

    def __init__(self, limits: tuple[int, int]) -> None:
        self.embedder, self.store, self.metrics = (
            FakeEmbedder(),
            in_memory_store(_still),
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
        given = backend if is_direct else None
        self.app = build_mcp_app(server, self.metrics, [], [], given)
        transport = httpx2.ASGITransport(self.app, root_path="/mcp")
        async with (
            self.app.router.lifespan_context(self.app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as self.http,
        ):
            yield


class Both:
    """Sends everything both ways."""

    def __init__(self, went: list[str], limits: tuple[int, int] = (0, 0)) -> None:
        self.went = went
        self.sides = [Side(limits), Side(limits)]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Both"]:
        plain, direct = self.sides
        async with plain.serving(is_direct=False), direct.serving(is_direct=True):
            yield self

    async def post(
        self, body: Any, headers: Headers | list[tuple[str, str]], pieces: int = 1
    ) -> tuple[httpx2.Response, str]:
        """What both answer, and which way went the one that had the choice. `body` is a message, or
        what is sent in the place of one."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answers = []
        for side in self.sides:
            self.went.clear()
            content = raw if pieces == 1 else _in_pieces(raw, pieces)
            answers.append(await side.http.post("/mcp", content=content, headers=headers))
        first, second = answers
        assert second.status_code == first.status_code, (first.text, second.text)
        assert _headers(second) == _headers(first)
        assert _read(second) == _read(first)
        plain, direct = (side.metrics for side in self.sides)
        assert direct.answers == plain.answers
        assert direct.tools == plain.tools
        assert direct.limited == plain.limited
        return second, "sdk" if self.went else "direct"

    async def call(
        self, version: str | None, name: str, /, *, headers: Headers | None = None, **arguments: Any
    ) -> Any:
        """The result of a call such as clients make, which has to go the direct way."""
        sent = headers_of(version, name) | (headers or {})
        answer, went = await self.post(message(version, name, arguments), sent)
        assert (answer.status_code, went) == (200, "direct")
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


def counting(version: str | None) -> dict[str, Any]:
    """A message that nothing is the matter with."""
    return message(version, "count_memories", {"agent_id": "a"})


async def _in_pieces(body: bytes, pieces: int) -> AsyncIterator[bytes]:
    size = len(body) // pieces + 1
    for start in range(0, len(body), size):
        yield body[start : start + size]


def _headers(answer: httpx2.Response) -> Headers:
    """The length is the body's own: the SDK escapes what is not ASCII in some versions."""
    headers = dict(answer.headers)
    assert int(headers.pop("content-length")) == len(answer.content)
    return headers


def _read(answer: httpx2.Response) -> Any:
    if answer.headers.get("content-type") == "application/json" and answer.content:
        return answer.json()
    return answer.content
