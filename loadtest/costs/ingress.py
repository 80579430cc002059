"""CPU time of a search in an ingress: REST, and MCP without and with the SDK.

    .venv/bin/python -m loadtest.costs.ingress [--hits 10] [--turns 12] [--searches 500]

Calls the applications in this process, in turns, without a server or Ray, and with a service whose
hits are prepared. So this is only the ingress's own work, without that of Serve and uvicorn.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, cast

from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from starlette.applications import Starlette
from starlette.types import Message, Scope

from deployments.domain.memories import Memory, MemoryType
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from serve_app.mcp.answering import ServiceBackend
from serve_app.mcp.asgi import build_mcp_app, scope_of_request
from serve_app.mcp.server import build_server
from serve_app.rest.asgi import build_rest_app
from serve_app.services.memories import MemoryService
from serve_app.services.reranking import SearchResult

_SEARCH = {"agent_id": "helper", "user_id": "ana", "query": "Which theme should I use?"}
_CONTENT = "Ana prefers dark mode in every editor, and a light one for reading. " * 2
_META = {
    PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
    CLIENT_CAPABILITIES_META_KEY: {},
    CLIENT_INFO_META_KEY: {"name": "loadtest", "version": "1"},
}
_HEADERS = {
    "host": "127.0.0.1:8000",
    "accept": "application/json, text/event-stream",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "user-agent": "loadtest",
    "content-type": "application/json",
}
_VERSION_HEADER = "mcp-protocol-version"

Request = Callable[[], Awaitable[None]]


class _PreparedService:
    """A MemoryService whose searches return prepared hits."""

    def __init__(self, hits: int) -> None:
        now = datetime.now(UTC)
        self._hits = [
            Memory(
                id=uuid7(),
                agent_id="helper",
                user_id="ana",
                content=_CONTENT,
                importance=1.0,
                memory_type=MemoryType.EPISODIC,
                metadata={},
                created_at=now,
                updated_at=now,
                expires_at=None,
                score=0.4832,
            )
            for _ in range(hits)
        ]

    async def search(self, _query: SearchQuery) -> SearchResult:
        return SearchResult(self._hits)


class _NoMetrics:
    def count_request(self, method: str, route: str, status: int, duration_s: float) -> None: ...

    def count_rate_limited(self, operation: str) -> None: ...

    def count_tool_call(self, tool: str, is_error: bool, duration_s: float) -> None: ...


async def measure(hits: int, turns: int, searches: int) -> dict[str, float]:
    """Microseconds of CPU time for a search: the median of the turns, by protocol."""
    service, metrics = cast(MemoryService, _PreparedService(hits)), _NoMetrics()
    backend = ServiceBackend(service, metrics)

    def over_mcp(direct: ServiceBackend | None) -> Starlette:
        server = build_server(backend, scope_of_request, "1")
        return build_mcp_app(server, metrics, (), (), direct)

    async def exposition() -> str:
        return ""

    rest = build_rest_app(service, metrics, exposition, (), "1")
    direct, through_sdk = over_mcp(backend), over_mcp(None)
    headers = {_VERSION_HEADER: LATEST_MODERN_VERSION, "mcp-method": "tools/call"}
    modern = {**headers, "mcp-name": "search_memories"}, _call({"_meta": _META})
    handshake = {_VERSION_HEADER: LATEST_HANDSHAKE_VERSION}, _call({})
    requests = {
        "REST": _request(rest, "/v1/memories/search", "", {}, _SEARCH),
        f"{LATEST_MODERN_VERSION}": _request(direct, "/mcp", "/mcp", *modern),
        f"{LATEST_MODERN_VERSION} (SDK)": _request(through_sdk, "/mcp", "/mcp", *modern),
        f"{LATEST_HANDSHAKE_VERSION}": _request(direct, "/mcp", "/mcp", *handshake),
        f"{LATEST_HANDSHAKE_VERSION} (SDK)": _request(through_sdk, "/mcp", "/mcp", *handshake),
    }
    times_us: dict[str, list[float]] = {name: [] for name in requests}
    async with AsyncExitStack() as stack:
        for app in (rest, direct, through_sdk):
            await stack.enter_async_context(app.router.lifespan_context(app))
        for _ in range(turns):
            for name, request in requests.items():
                started = time.process_time()
                for _ in range(searches):
                    await request()
                times_us[name].append((time.process_time() - started) / searches * 1e6)
    return {name: statistics.median(turn_us) for name, turn_us in times_us.items()}


def _call(extra_params: dict[str, Any]) -> dict[str, Any]:
    params = {"name": "search_memories", "arguments": _SEARCH, **extra_params}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _request(
    app: Starlette, path: str, root_path: str, headers: dict[str, str], body: dict[str, Any]
) -> Request:
    raw = json.dumps(body).encode()
    all_headers = {**_HEADERS, **headers, "content-length": str(len(raw))}
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }

    async def request() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Message) -> None:
            assert message.get("status", 200) == 200

        await app(dict(scope), receive, send)

    return request


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="loadtest.costs.ingress", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--hits", type=int, default=10, help="of each search (default: 10)")
    parser.add_argument("--turns", type=int, default=12, help="of each protocol (default: 12)")
    parser.add_argument("--searches", type=int, default=500, help="of each turn (default: 500)")
    arguments = parser.parse_args()
    costs = asyncio.run(measure(arguments.hits, arguments.turns, arguments.searches))
    for name, cost_us in costs.items():
        print(f"{name:<18} {cost_us:6.0f} µs")


if __name__ == "__main__":
    main()
