"""The HTTP application over an MCP server: streamable HTTP without sessions, so that any replica
can answer any request."""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp_types import INVALID_REQUEST
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.domain.errors import InvalidInput
from deployments.runtime import tracing
from serve_app.mcp.answering import Backend
from serve_app.mcp.direct import DirectCalls
from serve_app.mcp.scope import AGENT_HEADER, USER_HEADER, FixedScope, read_scope
from serve_app.mcp.server import Context
from serve_app.web.fields import MAX_BODY_BYTES
from serve_app.web.request_telemetry import RequestMetrics, RequestTelemetry
from serve_app.web.trusted_host import host_name, is_loopback, is_served

ROUTE = "/mcp"
_SCOPE_KEY = "memex.scope"
_CHECKED_HEADERS = (b"host", b"origin", AGENT_HEADER.lower().encode(), USER_HEADER.lower().encode())


def build_mcp_app(
    server: "Server[Any]",
    metrics: RequestMetrics,
    allowed_hosts: Collection[str],
    allowed_origins: Collection[str],
    backend: Backend | None = None,
    with_streams: bool = False,
) -> Starlette:
    """The ASGI application over a server, to be mounted at ROUTE.

    `backend` is the one that answers the server's tool calls. If it is given, plain calls go to it
    directly, unless calls are traced: the SDK makes their spans. Answers are JSON unless
    `with_streams`: a server that sends nothing before its results does not need streams, and they
    cost a millisecond or more at the median.
    """
    manager = StreamableHTTPSessionManager(
        server,
        stateless=True,
        json_response=not with_streams,
        max_request_body_size=MAX_BODY_BYTES,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    app = Starlette(lifespan=lifespan)
    # No routes: they would redirect /mcp/ to /mcp, and clients do not repeat a POST.
    inner: ASGIApp = manager.handle_request
    if backend is not None and not with_streams and not tracing.is_on():
        direct = DirectCalls(inner, backend, _fixed_scope_of, server.server_info_stamp)
        inner = RequestBodyLimitMiddleware(direct, MAX_BODY_BYTES)
    checks = _RequestChecks(inner, allowed_hosts, allowed_origins)
    app.router.default = RequestTelemetry(checks, metrics, lambda _scope: ROUTE)
    app.router.redirect_slashes = False
    return app


def scope_of_request(context: Context) -> FixedScope:
    """The scope that the request's headers fix, as the application stored it in the ASGI scope."""
    return _fixed_scope_of(context.request.scope)  # type: ignore[attr-defined]


def _fixed_scope_of(scope: Scope) -> FixedScope:
    fixed: FixedScope = scope[_SCOPE_KEY]
    return fixed


class _RequestChecks:
    """ASGI middleware: pass on POST requests with an allowed Host and Origin, and refuse others."""

    def __init__(
        self, app: ASGIApp, allowed_hosts: Collection[str], allowed_origins: Collection[str]
    ) -> None:
        self._app = app
        self._hosts = frozenset(allowed_hosts)
        self._origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        # Whitespace around a header's value is not part of it (RFC 9110, 5.5). HAProxy strips it;
        # httptools, which uvicorn and Ray's own proxy use, leaves trailing whitespace.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        scope = {**scope, "headers": headers}
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        # One pass over the headers, because this runs for each call.
        values: dict[bytes, list[str]] = {name: [] for name in _CHECKED_HEADERS}
        for name, value in scope["headers"]:
            if name in values:
                values[name].append(value.decode("latin-1"))
        hosts, origins, agents, users = values.values()
        if not is_served(hosts, self._hosts):
            return _error(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this host name is not served here; an operator can add it to "
                "MEMEX_MCP_ALLOWED_HOSTS",
            )
        if not all(self._is_allowed(origin) for origin in origins):
            return _error(
                HTTPStatus.FORBIDDEN,
                "web pages of this origin may not call; an operator can add it to "
                "MEMEX_MCP_ALLOWED_ORIGINS",
            )
        if scope["path"].removeprefix(scope.get("root_path", "")) not in ("", "/"):
            return _error(HTTPStatus.NOT_FOUND, f"MCP is served at {ROUTE}")
        if scope["method"] != "POST":  # a GET would wait for messages, and the server sends none
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "only POST is allowed", Allow="POST")
        try:
            scope[_SCOPE_KEY] = read_scope(agents, users)
        except InvalidInput as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        return None

    def _is_allowed(self, origin: str) -> bool:
        if "*" in self._origins or origin.lower() in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and is_loopback(host_name(parts.netloc))


def _error(status: HTTPStatus, message: str, **headers: str) -> Response:
    """A JSON-RPC error for a request that is refused before its message is read."""
    error = {"code": INVALID_REQUEST, "message": message}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return Response(body, status, headers, media_type="application/json")
