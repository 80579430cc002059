"""ASGI middleware that reports each request's id, span, status and duration to the log, the trace
and the metrics."""

import logging
import time
from collections.abc import Callable
from http import HTTPMethod, HTTPStatus
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.domain.errors import MemexError, Unavailable
from deployments.runtime import logs, tracing
from serve_app.web.request_context import RequestContext, set_current_requests
from serve_app.web.request_id import new_request_id, request_id_of

_logger = logging.getLogger(logs.NAME)
_FAILURE = "memex.failure"
_RESPONSE = "memex.response"

# A caller may send any method, but a label must have few values.
_METHODS = frozenset(HTTPMethod)
OTHER_METHOD = "(other)"


class RequestMetrics(Protocol):
    """The metrics that an application reports about its requests."""

    def count_request(self, method: str, route: str, status: int, duration_s: float) -> None: ...

    def count_rate_limited(self, operation: str) -> None: ...


class ResponseStatus:
    """The status that was sent; 500 until then."""

    def __init__(self, send: Send) -> None:
        self.status = HTTPStatus.INTERNAL_SERVER_ERROR.value
        self.is_sent = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.is_sent = True
        await self._send(message)


def record_failure(scope: Scope, error: Exception) -> None:
    """Have the request's log line name the error."""
    scope[_FAILURE] = error


def has_answered(scope: Scope) -> bool:
    """Whether the answer to this request has begun."""
    response: ResponseStatus = scope[_RESPONSE]
    return response.is_sent


class RequestTelemetry:
    """The outermost middleware. Logs one line for each answer with a status of 500 or more: a
    warning if a node was unavailable, else an error, with a traceback if it was unexpected. Other
    answers are not logged, because the caller sees them.

    `route_of` returns the route's template after the application has answered.
    """

    def __init__(
        self, app: ASGIApp, metrics: RequestMetrics, route_of: Callable[[Scope], str]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        request_id = request_id_of(scope) or new_request_id()
        response = scope[_RESPONSE] = ResponseStatus(send)
        uncaught: Exception | None = None
        with tracing.request_span(scope["method"], Headers(scope=scope)) as span:
            set_current_requests([RequestContext(request_id, span)])
            try:
                await self._app(scope, receive, response.send)
            except Exception as error:  # after the answer has begun
                uncaught = error
                raise
            finally:
                duration_s = time.perf_counter() - started_s
                method, route = scope["method"], self._route_of(scope)
                known_method = method if method in _METHODS else OTHER_METHOD
                self._metrics.count_request(known_method, route, response.status, duration_s)
                if response.status >= 500 or uncaught is not None:
                    failure = uncaught or scope.get(_FAILURE)
                    _log(f"{method} {route}", response.status, failure, request_id, duration_s)
                if span is not None:
                    tracing.describe_request(span, method, route, response.status, request_id)


def _log(
    request: str, status: int, error: Exception | None, request_id: str, duration_s: float
) -> None:
    is_expected = error is None or isinstance(error, MemexError)
    _logger.log(
        logging.WARNING if isinstance(error, Unavailable) else logging.ERROR,
        "%s %d%s",
        request,
        status,
        f": {error}" if isinstance(error, MemexError) else "",
        exc_info=None if is_expected else error,
        extra={
            "request_id": request_id,
            "status": status,
            "duration_ms": round(duration_s * 1_000, 1),
        },
    )
