"""ASGI middleware that reports each answer."""

import time
from collections.abc import Callable
from http import HTTPMethod
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.sent import Sent

# A caller may name any method; a label has few values.
_METHODS = frozenset(HTTPMethod)
OTHER = "(other)"


class RequestMetrics(Protocol):
    """What an application reports about its requests."""

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None: ...

    def rate_limited(self, operation: str) -> None: ...


class Measured:
    """`route_of` gives the route's template, once the application has answered."""

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
        started = time.perf_counter()
        sent = Sent(send)
        try:
            await self._app(scope, receive, sent)
        finally:
            duration_s = time.perf_counter() - started
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            self._metrics.answered(method, self._route_of(scope), sent.status, duration_s)
