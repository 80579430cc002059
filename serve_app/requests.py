"""ASGI middleware around an application: which request this is, its span, and a line of the log
where it fails."""

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments import logs, tracing
from deployments.domain.errors import MemexError, Unavailable
from serve_app.origins import Origin, on_behalf_of
from serve_app.request_ids import new_request_id, request_id_of
from serve_app.sent import Sent

_logger = logging.getLogger(logs.NAME)
_FAILURE = "memex.failure"


def failed_with(scope: Scope, error: Exception) -> None:
    """Has the request's line tell what it failed with."""
    scope[_FAILURE] = error


class Requests:
    """One line for each answer of 500 and more: an error with a traceback where nobody foresaw it,
    a warning where a part was not available. Others are the caller's to see, and have none."""

    def __init__(self, app: ASGIApp, route_of: Callable[[Scope], str]) -> None:
        self._app = app
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(scope) or new_request_id()
        sent = Sent(send)
        error: Exception | None = None
        with tracing.serving(scope["method"], Headers(scope=scope)) as span:
            on_behalf_of([Origin(request_id, span)])
            try:
                await self._app(scope, receive, sent)
            except Exception as raised:  # after the answer's beginning
                error = raised
                raise
            finally:
                if sent.status >= 500 or error is not None:
                    error = error or scope.get(_FAILURE)
                    self._log(scope, sent.status, error, request_id, started)
                if span is not None:
                    route = self._route_of(scope)
                    tracing.served(span, scope["method"], route, sent.status, request_id)

    def _log(
        self, scope: Scope, status: int, error: Exception | None, request_id: str, started: float
    ) -> None:
        is_known = error is None or isinstance(error, MemexError)
        _logger.log(
            logging.WARNING if isinstance(error, Unavailable) else logging.ERROR,
            "%s %s %d%s",
            scope["method"],
            self._route_of(scope),
            status,
            f": {error}" if isinstance(error, MemexError) else "",
            exc_info=None if is_known else error,
            extra={
                "request_id": request_id,
                "status": status,
                "duration_ms": round((time.perf_counter() - started) * 1_000, 1),
            },
        )
