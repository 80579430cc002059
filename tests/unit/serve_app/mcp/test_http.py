from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest

from serve_app.mcp.answering import ServiceBackend
from serve_app.mcp.asgi import build_mcp_app, scope_of_request
from serve_app.mcp.server import build_server
from serve_app.services.memories import MemoryService
from serve_app.web.fields import MAX_BODY_BYTES
from tests.support.recorded import RecordedMetrics

CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream"}


Serving = Callable[[], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def serving(service: MemoryService, metrics: RecordedMetrics) -> Serving:
    """The test enters it in its own task, as the session manager's task group requires."""

    @asynccontextmanager
    async def open_client() -> AsyncIterator[httpx2.AsyncClient]:
        backend = ServiceBackend(service, metrics)
        server = build_server(backend, scope_of_request, "1.2.3")
        origins = ["https://app.example.org"]
        app = build_mcp_app(server, metrics, ["memex.example.org"], origins, backend)
        transport = httpx2.ASGITransport(app, root_path="/mcp")
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(
                transport=transport, base_url="http://localhost", headers=HEADERS
            ) as client,
        ):
            yield client

    return open_client


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_path_is_served_with_and_without_slash(
    serving: Serving, metrics: RecordedMetrics, path: str
) -> None:
    async with serving() as http:
        answer = await http.post(path, json=CALL)
        assert answer.status_code == 200
        assert "search_memories" in answer.text
        assert metrics.answers == [("POST", "/mcp", 200)]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_other_methods_are_refused(serving: Serving, method: str, path: str) -> None:
    async with serving() as http:
        answer = await http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_subpaths_are_not_found(serving: Serving) -> None:
    async with serving() as http:
        assert (await http.post("/mcp/x", json=CALL)).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "memex.example.org"}, 200),
        ({"host": "127.0.0.1:8000"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"origin": "http://localhost:6274"}, 200),
        ({"origin": "http://[::1]:1"}, 200),
        ({"origin": "https://App.example.org"}, 200),
        ({"origin": "http://app.example.org"}, 403),
        ({"x-memex-agent": ""}, 400),
        ({"x-memex-agent": "a"}, 200),
    ],
)
async def test_hosts_origins_and_headers_are_checked(
    serving: Serving, headers: dict[str, str], status: int
) -> None:
    async with serving() as http:
        answer = await http.post("/mcp", json=CALL, headers=headers)
        assert answer.status_code == status, answer.text
        if status != 200:
            assert answer.json()["error"]["message"]


async def test_headers_fix_the_scope(serving: Serving) -> None:
    async with serving() as http:
        answer = await http.post("/mcp", json=CALL, headers={"x-memex-agent": "a"})
        assert '"agent_id"' not in answer.text
        two_agents = [("x-memex-agent", "a"), ("x-memex-agent", "b")]
        assert (await http.post("/mcp", json=CALL, headers=two_agents)).status_code == 400


async def test_trailing_spaces_of_a_header_are_ignored(serving: Serving) -> None:
    count = {"name": "count_memories", "arguments": {"agent_id": "a"}}
    call = {**CALL, "method": "tools/call", "params": count}
    async with serving() as http:
        answer = await http.post("/mcp", json=call, headers={"x-memex-agent": "a \t "})
        assert '"count":0' in answer.text
        refused = await http.post("/mcp", json=call, headers={"x-memex-agent": " \t"})
        assert refused.status_code == 400


async def test_body_size_is_limited(serving: Serving) -> None:
    async with serving() as http:
        padded = {**CALL, "params": {"_meta": {"x": "y" * MAX_BODY_BYTES}}}
        assert (await http.post("/mcp", json=padded)).status_code == 413
        answer = await http.post("/mcp", content=b"{", headers={"content-type": "application/json"})
        assert answer.status_code == 400
