"""OpenTelemetry's spans, if its standard variables switch them on: OTEL_TRACES_EXPORTER,
OTEL_EXPORTER_OTLP_ENDPOINT and so on. Otherwise OpenTelemetry is not imported and no span is made.

A span contains our own names, numbers and ids, but no memory, agent or user.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from deployments.domain.errors import BadSetting

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Carrier = dict[str, str]
"""A span's context as W3C headers, sent with a call to a deployment."""

_SERVICE = "memex"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

_tracer: "Tracer | None" = None


def exporter_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The exporters that OTEL_TRACES_EXPORTER names; `otlp` if only an endpoint is set."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    names = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if not names:
        names = "otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none"
    return [name for part in names.split(",") if (name := part.strip()) not in ("", "none")]


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raises BadSetting if the variables name an exporter that is not installed."""
    for name in exporter_names(environ):
        _exporter_class(name, environ)


def start(deployment: str) -> None:
    """Switch on this replica's spans if the variables ask for them. Raises BadSetting."""
    if names := exporter_names():
        use(_provider(deployment, names))


def use(provider: "TracerProvider | None") -> None:
    """Send this process's spans to `provider`; None switches spans off."""
    global _tracer
    if provider is None:
        _tracer = None
        return
    from opentelemetry import trace

    trace.set_tracer_provider(provider)  # for the MCP SDK's spans; no effect if one is set already
    _tracer = provider.get_tracer(_SERVICE)


def is_on() -> bool:
    return _tracer is not None


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator["Span | None"]:
    """Make the span of an HTTP request, in its caller's trace if the headers name one."""
    if _tracer is None:
        yield None
        return
    from opentelemetry import propagate, trace

    with _tracer.start_as_current_span(
        method, propagate.extract(headers), trace.SpanKind.SERVER, **_NO_MESSAGES
    ) as span:
        yield span


def describe_request(span: "Span", method: str, route: str, status: int, request_id: str) -> None:
    """Set the span's name, attributes and status, after the request has been answered."""
    from opentelemetry import trace

    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "memex.request_id": request_id,
        }
    )
    if status >= 500:
        span.set_status(trace.StatusCode.ERROR)


@contextmanager
def call_span(part: str, method: str, spans: Sequence["Span"]) -> Iterator[Carrier | None]:
    """Make the span of a call to a deployment for requests with these spans, and yield the carrier
    to send with the call. The span is a child of the first sampled span and links to all sampled
    ones; each of the others links back, so that its own trace leads to the call."""
    sampled = [span for span in spans if span.get_span_context().trace_flags.sampled]
    if _tracer is None or not sampled:
        yield None
        return
    from opentelemetry import propagate, trace

    parent, *others = sampled
    with _tracer.start_as_current_span(
        f"{part}.{method}",
        trace.set_span_in_context(parent),
        trace.SpanKind.CLIENT,
        {"memex.callers": len(spans)},
        [trace.Link(span.get_span_context()) for span in sampled],
        **_NO_MESSAGES,
    ) as span:
        for other in others:
            other.add_link(span.get_span_context())
        carrier: Carrier = {}
        propagate.inject(carrier)
        with _failures_recorded(span):
            yield carrier


@contextmanager
def answer_span(carrier: Carrier, name: str) -> Iterator[None]:
    """Make, in the deployment, the span of a call that was sent with `carrier`."""
    if _tracer is None:
        yield
        return
    from opentelemetry import propagate, trace

    with (
        _tracer.start_as_current_span(
            name, propagate.extract(carrier), trace.SpanKind.SERVER, **_NO_MESSAGES
        ) as span,
        _failures_recorded(span),
    ):
        yield


@contextmanager
def answer_stream_span(carrier: Carrier | None, name: str) -> Iterator[None]:
    """As `answer_span`, around a generator. The span is not made the current one, because between
    its items a generator returns control to its reader."""
    if _tracer is None or carrier is None:
        yield
        return
    from opentelemetry import propagate, trace

    span = _tracer.start_span(name, propagate.extract(carrier), trace.SpanKind.SERVER)
    try:
        with _failures_recorded(span):
            yield
    finally:
        span.end()


def current_span() -> "Span | None":
    """The current span of this process; None if spans are off."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    return trace.get_current_span()


# The SDK would write an error's message and traceback into the span; they may quote a memory.
_NO_MESSAGES: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}


@contextmanager
def _failures_recorded(span: "Span") -> Iterator[None]:
    from opentelemetry import trace

    try:
        yield
    except Exception as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(trace.StatusCode.ERROR)
        raise


def _provider(deployment: str, names: Sequence[str]) -> "TracerProvider":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    attributes = {"memex.deployment": deployment}
    resource = Resource.create(attributes)
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        resource = Resource.create({**attributes, "service.name": _SERVICE})
    provider = TracerProvider(resource=resource)  # reads OTEL_TRACES_SAMPLER
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter_class(name, os.environ)()))
    return provider


def _exporter_class(name: str, environ: Mapping[str, str]) -> Any:
    entry = name
    if name == "otlp":
        protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
        )
        if protocol not in _PROTOCOLS:
            raise BadSetting(
                f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is not one of {', '.join(_PROTOCOLS)}"
            )
        entry = _PROTOCOLS[protocol]
    for entry_point in entry_points(group="opentelemetry_traces_exporter", name=entry):
        return entry_point.load()
    package = f"opentelemetry-exporter-{entry.replace('_', '-')}"
    raise BadSetting(
        f"OTEL_TRACES_EXPORTER: no exporter {name!r} is installed; a package such as {package} "
        "provides it"
    )
