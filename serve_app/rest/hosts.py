"""Refuses requests that were not meant for us.

A web page can make its visitor's browser call a loopback service by letting its own name resolve
to 127.0.0.1. Such a call names that page's host, so only known hosts are answered.
"""

from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.hosts import is_served
from serve_app.rest.errors import problem


class HostGuard:
    """ASGI middleware: 421 for a Host that is neither loopback nor in `allowed`."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_served(
            Headers(scope=scope).getlist("host"), self._allowed
        ):
            answer = problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this host name is not served here; an operator can add it to MEMEX_ALLOWED_HOSTS",
            )
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)
