"""Spans by OpenTelemetry, where its standard variables ask for them: OTEL_TRACES_EXPORTER,
OTEL_EXPORTER_OTLP_ENDPOINT and those beside them. Otherwise nothing of it is imported here, and no
span is made.

A span has names of ours, numbers and ids; no memory, no agent and no user.
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
"""A span's place in its trace as W3C headers, sent with a call to a deployment."""

_SERVICE = "memex"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

_tracer: "Tracer | None" = None


def exporter_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Whom spans are for, as OTEL_TRACES_EXPORTER names them; an endpoint alone means `otlp`."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    given = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if not given:
        given = "otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none"
    return [name for part in given.split(",") if (name := part.strip()) not in ("", "none")]


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raises BadSetting where the variables name an exporter that is not here."""
    for name in exporter_names(environ):
        _exporter_class(name, environ)


def start(deployment: str) -> None:
    """In a replica's beginning. Nothing where spans are not asked for. Raises BadSetting."""
    if names := exporter_names():
        use(_provider(deployment, names))


def use(provider: "TracerProvider | None") -> None:
    """Have spans go to `provider`, from this process; None makes none."""
    global _tracer
    if provider is None:
        _tracer = None
        return
    from opentelemetry import trace

    trace.set_tracer_provider(provider)  # for the MCP SDK's spans; kept where one is set already
    _tracer = provider.get_tracer(_SERVICE)


def is_on() -> bool:
    return _tracer is not None


@contextmanager
def serving(method: str, headers: Mapping[str, str]) -> Iterator["Span | None"]:
    """The span of an HTTP request, within its caller's trace where the headers name one."""
    if _tracer is None:
        yield None
        return
    from opentelemetry import propagate, trace

    with _tracer.start_as_current_span(
        method, propagate.extract(headers), trace.SpanKind.SERVER, **_NO_WORDS
    ) as span:
        yield span


def served(span: "Span", method: str, route: str, status: int, request_id: str) -> None:
    """What is known of a request when it has been answered."""
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
def calling(part: str, method: str, spans: Sequence["Span"]) -> Iterator[Carrier | None]:
    """The span of a call to a deployment, made for requests with these spans, and what has to
    travel with it. It is a child of the first that is sampled and links to all of them; each of
    the others links back, since from its own trace the call could not be found."""
    sampled = [span for span in spans if span.get_span_context().trace_flags.sampled]
    if _tracer is None or not sampled:
        yield None
        return
    from opentelemetry import propagate, trace

    first, *others = sampled
    with _tracer.start_as_current_span(
        f"{part}.{method}",
        trace.set_span_in_context(first),
        trace.SpanKind.CLIENT,
        {"memex.callers": len(spans)},
        [trace.Link(span.get_span_context()) for span in sampled],
        **_NO_WORDS,
    ) as span:
        for other in others:
            other.add_link(span.get_span_context())
        carrier: Carrier = {}
        propagate.inject(carrier)
        with _failures_recorded(span):
            yield carrier


@contextmanager
def continued(carrier: Carrier, name: str) -> Iterator[None]:
    """In the deployment: the span of a call that came with `carrier`."""
    if _tracer is None:
        yield
        return
    from opentelemetry import propagate, trace

    with (
        _tracer.start_as_current_span(
            name, propagate.extract(carrier), trace.SpanKind.SERVER, **_NO_WORDS
        ) as span,
        _failures_recorded(span),
    ):
        yield


@contextmanager
def continued_stream(carrier: Carrier | None, name: str) -> Iterator[None]:
    """As `continued`, around a generator: the span is nobody's current one, since a generator gives
    way between its items to whoever reads them."""
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


def current() -> "Span | None":
    """The span that we are in, in this process."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    return trace.get_current_span()


# The SDK would write an error's words and its traceback into the span; they may quote a memory.
_NO_WORDS: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}


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
    provider = TracerProvider(resource=resource)  # its sampler is OTEL_TRACES_SAMPLER's
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
    for found in entry_points(group="opentelemetry_traces_exporter", name=entry):
        return found.load()
    package = f"opentelemetry-exporter-{entry.replace('_', '-')}"
    raise BadSetting(
        f"OTEL_TRACES_EXPORTER: there is no exporter {name!r} here; a package such as {package} "
        "brings it"
    )
