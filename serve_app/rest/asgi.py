"""Builds the REST application from its routes, middleware and error handlers."""

import gzip
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from http import HTTPStatus

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Scope

from deployments.domain.errors import MemexError, RateLimited, Unavailable
from serve_app.rest.errors import (
    FaultBarrier,
    on_http_error,
    on_memex_error,
    on_validation_error,
)
from serve_app.rest.health import PATHS as HEALTH_PATHS
from serve_app.rest.health import health_routes
from serve_app.rest.input import refuse_headers, refuse_unread
from serve_app.rest.openapi import openapi_document
from serve_app.rest.operation import Operation
from serve_app.rest.pages.console import console_routes
from serve_app.rest.pages.docs import doc_routes
from serve_app.rest.routes import OPERATIONS
from serve_app.services.memories import MemoryService
from serve_app.web.headers import accepts_gzip
from serve_app.web.request_telemetry import RequestMetrics, RequestTelemetry
from serve_app.web.trusted_host import TrustedHost

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
_MCP_PATHS = ("/mcp", "/mcp/{rest:path}")
_PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_GZIP_LEVEL = 1  # a fifth of the size; higher levels take long and save little

Exposition = Callable[[], Awaitable[str]]


class _AnyText(Convertor[str]):
    """An agent's id may contain slashes, and one with a line break gets the reason, not a 404."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any_text", _AnyText())


def build_rest_app(
    service: MemoryService,
    metrics: RequestMetrics,
    exposition: Exposition,
    allowed_hosts: Collection[str],
    version: str,
) -> Starlette:
    """The ASGI application over a service. `exposition` returns the text of /metrics."""

    async def on_error(request: Request, error: Exception) -> Response:
        if isinstance(error, RateLimited):
            metrics.count_rate_limited(error.operation)
        return await on_memex_error(request, error)

    app = Starlette(
        routes=[
            *_routes(service),
            *health_routes(service, allowed_hosts, version),
            Route("/metrics", _metrics(exposition)),
            *(Route(path, _mcp_is_missing, methods=_METHODS) for path in _MCP_PATHS),
            *doc_routes(openapi_document(version)),
            *console_routes(),
        ],
        middleware=[
            Middleware(RequestTelemetry, metrics=metrics, route_of=_route_of),
            Middleware(FaultBarrier),
            Middleware(TrustedHost, allowed=allowed_hosts, open_paths=HEALTH_PATHS),
        ],
        exception_handlers={
            MemexError: on_error,
            ValidationError: on_validation_error,
            HTTPException: on_http_error,
        },
    )
    # A redirect would turn a DELETE of one memory with an empty id into one of a whole scope.
    app.router.redirect_slashes = False
    return app


def _routes(service: MemoryService) -> Iterator[BaseRoute]:
    """One route for each path, so that the answer to a wrong method names all allowed ones."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    for path, operations in by_path.items():
        # Each route takes all methods. Otherwise a method that a path does not have would be tried
        # on the next route, which would read `search` as an id.
        route_path = path.replace("{agent_id}", "{agent_id:any_text}")
        yield Route(route_path, _endpoint(service, operations), methods=_METHODS)


def _endpoint(
    service: MemoryService, operations: Mapping[str, Operation]
) -> Callable[[Request], Awaitable[Response]]:
    encoders = {method: operation.encoder() for method, operation in operations.items()}
    allowed = sorted({*operations, *(["HEAD"] if "GET" in operations else [])})

    async def endpoint(request: Request) -> Response:
        if request.method not in allowed:
            raise HTTPException(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.method} is not allowed here; allowed: {', '.join(allowed)}",
                {"Allow": ", ".join(allowed)},
            )
        method = "GET" if request.method == "HEAD" else request.method
        operation = operations[method]
        refuse_headers(request, operation)
        await refuse_unread(
            request,
            has_query=operation.query is not None,
            has_body=operation.body is not None or operation.body_lines is not None,
        )
        return encoders[method](await operation.handler(service, request))

    return endpoint


async def _mcp_is_missing(_request: Request) -> Response:
    """Serve passes calls of MCP to this application only while memex-mcp is not deployed yet."""
    raise Unavailable("MCP ingress")


def _metrics(exposition: Exposition) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        body, headers = (await exposition()).encode(), {"Vary": "Accept-Encoding"}
        if accepts_gzip(request.headers):
            body, headers["Content-Encoding"] = gzip.compress(body, _GZIP_LEVEL), "gzip"
        return Response(body, headers=headers, media_type=_PROMETHEUS_TEXT)

    return metrics


def _route_of(scope: Scope) -> str:
    route = scope.get("route")
    if isinstance(route, Route):
        return route.path.replace(":any_text}", "}")
    return route.path if isinstance(route, Mount) else "(none)"
