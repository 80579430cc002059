"""Health checks, as probes and strangers call them."""

import asyncio

import httpx2
import pytest

from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.recorded import RecordedMetrics
from tests.support.rest_calls import MEMORY, assert_problem

HEALTHY = {"status": "ok", "db": "ok", "embedder": "ok", "version": "1.2.3"}
CHECKS = ("/health", "/health/ready")
ROUTES = (*CHECKS, "/health/live")
FOREIGN = ("10.244.0.5:8000", "[fd00::5]:8000", "evil.example", "", "a b", "localhost:x")


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ROUTES)
async def test_any_host_gets_the_status_alone(
    client: httpx2.AsyncClient, store: InMemoryStore, path: str, host: str
) -> None:
    answer = await client.get(path, headers={"host": host})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    if path in CHECKS:
        store.rows.down = True
        answer = await client.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()) == (503, {"status": "degraded"})


@pytest.mark.parametrize("headers", [[], [("host", "localhost"), ("host", "localhost")]])
@pytest.mark.parametrize("path", ROUTES)
async def test_request_without_one_host_gets_the_status_alone(
    client: httpx2.AsyncClient, path: str, headers: list[tuple[str, str]]
) -> None:
    """As a probe over HTTP/1.0 sends it."""
    request = client.build_request("GET", path)
    request.headers = httpx2.Headers(headers)
    answer = await client.send(request)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", CHECKS)
async def test_known_host_learns_what_is_down(
    client: httpx2.AsyncClient, store: InMemoryStore, embedder: FakeEmbedder, path: str
) -> None:
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "memex.example.org"):
        assert (await client.get(path, headers={"host": host})).json() == HEALTHY
    store.rows.down = True
    answer = await client.get(path)
    assert answer.status_code == 503
    assert answer.json() == HEALTHY | {"status": "degraded", "db": "down"}
    assert answer.headers["retry-after"] == "1"


async def test_liveness_depends_on_nothing(
    client: httpx2.AsyncClient, store: InMemoryStore, embedder: FakeEmbedder
) -> None:
    store.rows.down = True
    assert (await client.get("/health/live")).json() == {"status": "ok"}


@pytest.mark.parametrize("limits", [(1, 1)])
@pytest.mark.parametrize("path", ROUTES)
async def test_checks_are_not_limited(client: httpx2.AsyncClient, path: str) -> None:
    for _ in range(3):
        await client.post("/v1/memories", json=MEMORY)
    answers = await asyncio.gather(*(client.get(path) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("host", ["localhost", "10.244.0.5:8000"])
@pytest.mark.parametrize("path", ROUTES)
async def test_checks_are_not_cached_and_answer_head(
    client: httpx2.AsyncClient, path: str, host: str
) -> None:
    for method in ("GET", "HEAD"):
        answer = await client.request(method, path, headers={"host": host})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ROUTES)
async def test_other_methods_are_refused(
    client: httpx2.AsyncClient, path: str, method: str
) -> None:
    answer = await client.request(method, path, headers={"host": "10.244.0.5"})
    assert_problem(answer, 405)
    assert {name.strip() for name in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/console",
        "/docs-assets/swagger-ui.css",
        "/v1/agents",
        "/v1/memories?agent_id=a",
        "/v1/memories/0198b2c4-0000-7000-8000-000000000000?agent_id=a",
        "/mcp",
        "/nowhere",
        "/health/",
        "/health/live/",
        "/health/more",
        "/healthy",
        "/Health",
        "//health",
        "/v1/agents/%2Fhealth/users",
    ],
)
async def test_every_other_path_is_for_known_hosts_alone(
    client: httpx2.AsyncClient, path: str
) -> None:
    for host in FOREIGN:
        assert_problem(await client.get(path, headers={"host": host}), 421)


async def test_metrics_count_each_check(
    client: httpx2.AsyncClient, metrics: RecordedMetrics
) -> None:
    for path in ROUTES:
        await client.get(path)
    assert metrics.answers == [("GET", path, 200) for path in ROUTES]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/x"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
async def test_mcp_without_its_ingress_is_unavailable(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"


async def test_openapi_describes_the_answers(client: httpx2.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path in ROUTES:
        responses = paths[path]["get"]["responses"]
        assert set(responses) == {"200", "503"}
        assert set(responses["503"]["content"]) == {"application/json", "application/problem+json"}
        assert "Retry-After" in responses["503"]["headers"]
