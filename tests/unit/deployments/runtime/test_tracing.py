"""Spans, with an in-memory exporter: their parents, links, attributes and settings."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from deployments.domain.errors import BadSetting, Unavailable
from deployments.domain.ports.embedding import BatchedEmbedder
from deployments.domain.ports.store import BatchedStore
from deployments.runtime import node, tracing
from serve_app.clients.coalescer import Bounds
from serve_app.clients.embedding.coalesced import CoalescedEmbedder
from serve_app.clients.embedding.remote import RemoteEmbedder
from serve_app.clients.store.coalesced import coalesced_store
from serve_app.clients.store.remote import remote_store
from serve_app.rest.asgi import build_rest_app
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.searches import InMemorySearches
from tests.support.fakes.store import in_memory_store
from tests.support.recorded import RecordedMetrics

CONTENT = "her secret is a blue door"
TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
PARENT = f"00-{TRACE_ID:032x}-00f067aa0ba902b7-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda _provider: None)
    tracing.use(provider)
    yield exporter
    tracing.use(None)


@node.answering(BatchedEmbedder)
class EmbedderNode(FakeEmbedder):
    """The fake embedder as a deployment."""


class Searches(InMemorySearches):
    gate: asyncio.Event | None = None
    fault: Exception | None = None

    async def search_each(self, calls: Any) -> Any:
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return await super().search_each(calls)


@node.answering_by_parts(BatchedStore)
class StoreNode:
    def __init__(self) -> None:
        store = in_memory_store()
        self.rows = store.rows
        self.searches = Searches(store.rows)
        self.parts = replace(store, searches=self.searches)


class Handle:
    """A handle whose deployment is in this process. Its calls run in a new context, as they would
    in another process."""

    def __init__(self, deployment: object) -> None:
        self._deployment = deployment

    def options(self, *, method_name: str, **_options: Any) -> Any:
        async def answer(*args: Any, **kwargs: Any) -> Any:
            return await getattr(self._deployment, method_name)(*args, **kwargs)

        import contextvars

        def remote(*args: Any, **kwargs: Any) -> Any:
            return asyncio.create_task(answer(*args, **kwargs), context=contextvars.Context())

        return type("Method", (), {"remote": staticmethod(remote)})


@pytest.fixture
def store() -> StoreNode:
    return StoreNode()


@pytest.fixture
async def client(store: StoreNode) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the REST application with its real edges and clients."""
    embedder = RemoteEmbedder(Handle(EmbedderNode()), 5)
    remote = remote_store(Handle(store), 5)
    service = MemoryService(
        CoalescedEmbedder(embedder, Bounds(1, 8, 8)), coalesced_store(remote, Bounds(1, 8, 8))
    )

    async def exposition() -> str:
        return ""

    await service.adopt_model()
    app = build_rest_app(service, RecordedMetrics(), exposition, [], "1")
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def search(client: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    body = {"agent_id": "an agent", "user_id": "a user", "query": CONTENT}
    return await client.post("/v1/memories/search", json=body, headers=headers)


def spans_named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return (
        child.parent is not None
        and child.parent.span_id == parent.context.span_id
        and child.context.trace_id == parent.context.trace_id
    )


async def test_search_is_one_trace_with_the_callers_id(
    exporter: InMemorySpanExporter, client: httpx2.AsyncClient
) -> None:
    assert (await search(client, traceparent=PARENT)).status_code == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request = spans["POST /v1/memories/search"]
    assert request.context.trace_id == TRACE_ID
    assert request.kind == SpanKind.SERVER
    for call, answer in (
        ("embedder.embed_each", "EmbedderNode.embed_each"),
        ("store.search_each", "StoreNode.search_each"),
    ):
        assert is_child(spans[call], request)
        assert is_child(spans[answer], spans[call])
        assert [link.context for link in spans[call].links] == [request.context]
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/v1/memories/search"


async def test_coalesced_call_links_to_the_spans_of_all_its_requests(
    exporter: InMemorySpanExporter, client: httpx2.AsyncClient, store: StoreNode
) -> None:
    store.searches.gate = asyncio.Event()
    requests = [asyncio.create_task(search(client)) for _ in range(4)]
    await asyncio.sleep(0.1)
    store.searches.gate.set()
    await asyncio.gather(*requests)
    request_spans = spans_named(exporter, "POST /v1/memories/search")
    calls = spans_named(exporter, "store.search_each")
    assert len(calls) < len(request_spans) == 4
    linked = [link.context.span_id for call in calls for link in call.links]
    assert sorted(linked) == sorted(span.context.span_id for span in request_spans)
    (shared,) = [call for call in calls if len(call.links) > 1]
    assert shared.attributes is not None
    assert shared.attributes["memex.callers"] == len(shared.links)
    linked_by_shared = {link.context.span_id for link in shared.links}
    for span in request_spans:
        if span.context.span_id in linked_by_shared:
            links = [link.context.span_id for link in span.links]
            assert is_child(shared, span) or shared.context.span_id in links


async def test_spans_of_a_failure_have_error_status_without_a_description(
    exporter: InMemorySpanExporter, client: httpx2.AsyncClient, store: StoreNode
) -> None:
    store.searches.fault = Unavailable("database")
    assert (await search(client)).status_code == 503
    for name in ("POST /v1/memories/search", "store.search_each", "StoreNode.search_each"):
        (span,) = spans_named(exporter, name)
        assert span.status.status_code == StatusCode.ERROR, name
        assert not span.status.description
        assert not span.events


async def test_spans_hold_no_content_agent_or_user(
    exporter: InMemorySpanExporter,
    client: httpx2.AsyncClient,
    store: StoreNode,
) -> None:
    await search(client)
    store.searches.fault = KeyError(CONTENT)
    assert (await search(client)).status_code == 500
    text = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "KeyError" in text
    for hidden in (CONTENT, "an agent", "a user"):
        assert hidden not in text


async def test_request_that_its_caller_does_not_sample_has_no_span(
    exporter: InMemorySpanExporter, client: httpx2.AsyncClient
) -> None:
    await search(client, traceparent=PARENT[:-1] + "0")
    assert exporter.get_finished_spans() == ()


async def test_requests_are_answered_without_tracing(client: httpx2.AsyncClient) -> None:
    assert not tracing.is_on()
    assert (await search(client, traceparent=PARENT)).status_code == 200


def test_opentelemetry_is_not_imported_without_tracing() -> None:
    code = (
        "import sys; from deployments.runtime import node; node.prepare('x'); print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "deployments.runtime.tracing" in result.stdout
    assert "opentelemetry" not in result.stdout


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp", "console"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, []),
    ],
)
def test_standard_variables_choose_the_exporters(environ: dict[str, str], names: list[str]) -> None:
    assert tracing.exporter_names(environ) == names
    tracing.check(environ)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "no exporter 'zipkin'"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "opentelemetry-exporter-otlp-proto-grpc",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "x"},
            "'x' is not one of",
        ),
    ],
)
def test_unusable_exporter_or_protocol_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        tracing.check(environ)


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, "memex"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours"}, "ours"),
    ],
)
def test_standard_variables_set_the_service_name_and_the_sampler(
    environ: dict[str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    provider = tracing._provider("Embedder", ["console"])
    assert provider.resource.attributes["service.name"] == service
    assert provider.resource.attributes["memex.deployment"] == "Embedder"
    assert "0.25" in provider.sampler.get_description()
    provider.shutdown()
