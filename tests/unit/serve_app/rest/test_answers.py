"""Answers without memories: health, limits, faults, metrics, the docs."""

import inspect
import json
from typing import Any

import httpx2
import pytest

from serve_app.rest.asgi import build_rest_app
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore, in_memory_store
from tests.support.recorded import RecordedMetrics
from tests.support.rest_calls import MEMORY, SEARCH, add, assert_problem


async def test_health_reports_an_outage_and_calls_get_503(
    client: httpx2.AsyncClient, store: InMemoryStore, embedder: FakeEmbedder
) -> None:
    healthy = {"status": "ok", "db": "ok", "embedder": "ok", "version": "1.2.3"}
    assert (await client.get("/health")).json() == healthy
    store.rows.down = True
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == healthy | {"status": "degraded", "db": "down"}
    assert int(answer.headers["retry-after"]) >= 1
    for call in (
        client.post("/v1/memories", json=MEMORY),
        client.post("/v1/memories/search", json=SEARCH),
        client.get("/v1/memories", params={"agent_id": "a"}),
    ):
        refused = await call
        assert_problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
    store.rows.down = False
    assert (await client.post("/v1/memories", json=MEMORY)).status_code == 201


@pytest.mark.parametrize("limits", [(1, 2)])
async def test_rate_limited_calls_have_a_retry_after(
    client: httpx2.AsyncClient, metrics: RecordedMetrics
) -> None:
    await add(client)
    refused = await client.post("/v1/memories", json=MEMORY)
    assert_problem(refused, 429)
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    for status in (200, 200, 429):
        answer = await client.post("/v1/memories/search", json=SEARCH)
        assert answer.status_code == status
    assert metrics.limited == ["write", "search"]
    await add(client, agent_id="another")


async def test_faults_do_not_reveal_details(
    client: httpx2.AsyncClient, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object) -> None:
        raise RuntimeError("select secret from somewhere")

    monkeypatch.setattr(store.memories, "count", broken)
    answer = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert_problem(answer, 500)
    assert "secret" not in answer.text


async def test_client_disconnect_is_not_logged_as_a_fault(
    client: httpx2.AsyncClient, metrics: RecordedMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    transport = client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/memories",
        "raw_path": b"/v1/memories",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        return None

    await transport.app(scope, receive, send)
    assert metrics.answers == [("POST", "/v1/memories", 400)]
    assert not caplog.records


def test_exception_handlers_are_coroutines() -> None:
    """Starlette runs a synchronous handler in a thread, which costs more than the request."""
    service = MemoryService(FakeEmbedder(), in_memory_store())
    app = build_rest_app(service, RecordedMetrics(), _no_metrics, (), "1")
    assert len(app.exception_handlers) >= 3
    assert all(map(inspect.iscoroutinefunction, app.exception_handlers.values()))


async def _no_metrics() -> str:
    return ""


async def test_metrics_use_route_templates(
    client: httpx2.AsyncClient, metrics: RecordedMetrics
) -> None:
    memory = await add(client)
    await client.get(f"/v1/memories/{memory['id']}", params={"agent_id": "a"})
    await client.get("/nothing/here")
    assert metrics.answers == [
        ("POST", "/v1/memories", 201),
        ("GET", "/v1/memories/{memory_id}", 200),
        ("GET", "(none)", 404),
    ]


@pytest.mark.parametrize(
    ("method", "path", "counted"),
    [
        ("GET", "/nothing/of/ana", ("GET", "(none)", 404)),
        ("GET", "/docs-assets/swagger-ui.css", ("GET", "/docs-assets", 200)),
        ("GET", "/docs-assets/ana.css", ("GET", "/docs-assets", 404)),
        ("ANA", "/v1/memories", ("(other)", "/v1/memories", 405)),
        ("DELETE", "/v1/memories/ana", ("DELETE", "/v1/memories/{memory_id}", 422)),
    ],
)
async def test_callers_cannot_choose_metric_labels(
    client: httpx2.AsyncClient,
    metrics: RecordedMetrics,
    method: str,
    path: str,
    counted: tuple[str, str, int],
) -> None:
    await client.request(method, path)
    assert metrics.answers == [counted]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0.0", None), ("br", None), ("", None)],
)
async def test_metrics_are_prometheus_text_and_compressed_on_request(
    client: httpx2.AsyncClient, accepted: str, encoding: str | None
) -> None:
    answer = await client.get("/metrics", headers={"accept-encoding": accepted})
    assert answer.text == "memex_up 1\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_docs_load_nothing_from_other_hosts(client: httpx2.AsyncClient) -> None:
    root = await client.get("/")
    assert (root.status_code, root.headers["location"]) == (307, "docs")
    for page, asset in (("/docs", "swagger-ui-bundle.js"), ("/redoc", "redoc.standalone.js")):
        html = (await client.get(page)).text
        assert "http" not in html
        assert f"docs-assets/{asset}" in html
        assert (await client.get(f"/docs-assets/{asset}")).status_code == 200


async def test_openapi_describes_every_route(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {
        ("POST", "/v1/memories"),
        ("GET", "/v1/memories"),
        ("DELETE", "/v1/memories"),
        ("POST", "/v1/memories/batch"),
        ("POST", "/v1/memories/search"),
        ("GET", "/v1/memories/count"),
        ("GET", "/v1/memories/export"),
        ("POST", "/v1/memories/import"),
        ("GET", "/v1/memories/{memory_id}"),
        ("GET", "/v1/memories/{memory_id}/history"),
        ("GET", "/v1/memories/{memory_id}/sources"),
        ("POST", "/v1/memories/{memory_id}/restore"),
        ("POST", "/v1/summaries/run"),
        ("PATCH", "/v1/memories/{memory_id}"),
        ("DELETE", "/v1/memories/{memory_id}"),
        ("GET", "/v1/memories/timeline"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/agents/{agent_id}/users"),
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
    }
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"]
    search = document["components"]["schemas"]["SearchIn"]
    assert search["properties"]["top_k"] == {
        "anyOf": [{"maximum": 50, "minimum": 1, "type": "integer"}, {"type": "null"}],
        "default": 10,
        "title": "Top K",
    }
    assert search["additionalProperties"] is False
