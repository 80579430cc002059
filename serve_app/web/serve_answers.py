"""Serve's own answers, as problems.

Serve itself answers, in text, if an application is not deployed (404), if the replica that has a
request dies (500), if too many requests wait (503), and if a request takes longer than the operator
or its caller allows (408). If no replica runs, it lets requests wait without limit.
"""

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context, copy_context
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.web.problem import problem, retry_after

PATIENCE_S = 2.0
"""How long a request may wait for a replica to take it."""

RETRY_AFTER_S = 1.0

_SYSTEM_PATHS = ("/-/healthz", "/-/routes")  # for HAProxy and operators, who know Serve's answers
_NOT_TAKEN = "no replica takes the request right now: they start, restart, stop or are busy"
_LOST = "the replica that had the request is gone; the request may have been carried out"
_LATE = "the request took longer than it may; it may have been carried out"
_DETAILS = {  # by Serve's status
    HTTPStatus.REQUEST_TIMEOUT: _LATE,
    HTTPStatus.INTERNAL_SERVER_ERROR: _LOST,
}

IsWaiting = Callable[[Context], bool]
"""Whether the request that is answered in this context waits for a replica to take it."""


class ServeAnswers:
    """ASGI middleware: replaces Serve's own answers, and leaves those of applications.

    If `is_waiting` is given, a request that no replica takes for `patience_s` is answered with 503.
    """

    def __init__(
        self, app: ASGIApp, is_waiting: IsWaiting | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self._app = app
        self._is_waiting = is_waiting
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _route_path(scope) in _SYSTEM_PATHS:
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, receive, send)
        try:
            if self._is_waiting is None:
                await self._app(scope, receive, answer.send)
            else:
                await self._answer_in_time(scope, receive, answer, self._is_waiting)
        finally:
            if not answer.has_begun:
                await answer.fail(HTTPStatus.SERVICE_UNAVAILABLE, _LOST)

    async def _answer_in_time(
        self, scope: Scope, receive: Receive, answer: "_Answer", is_waiting: IsWaiting
    ) -> None:
        async def call() -> None:
            await self._app(scope, receive, answer.send)

        context = copy_context()
        task = asyncio.create_task(call(), context=context)
        try:
            while not answer.has_begun:
                done, _ = await asyncio.wait([task], timeout=self._patience_s)
                if done:
                    break
                if not answer.has_begun and is_waiting(context):
                    await answer.fail(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_TAKEN)
                    return
            await task
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


class _Answer:
    """An answer on its way to the client."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.has_begun = False
        self._is_replaced = False
        self._scope, self._receive, self._send = scope, receive, send

    async def send(self, message: Message) -> None:
        """Pass on a message of the application's answer, unless a problem replaces it."""
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            status = message["status"]
            if status >= HTTPStatus.BAD_REQUEST and _is_of_serve(message):
                kept = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
                new = HTTPStatus(status) if status in kept else HTTPStatus.SERVICE_UNAVAILABLE
                await self.fail(new, _DETAILS.get(status, _NOT_TAKEN))
                return
        self.has_begun = True
        await self._send(message)

    async def fail(self, status: HTTPStatus, detail: str) -> None:
        """Send a problem, and nothing after it."""
        self.has_begun = self._is_replaced = True
        headers = {"Cache-Control": "no-store", **retry_after(RETRY_AFTER_S)}
        await problem(status, detail, headers=headers)(self._scope, self._receive, self._send)


def _route_path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_of_serve(start: Message) -> bool:
    """Whether the beginning of an error is Serve's own: in text and, unlike the answers of
    applications, without a length."""
    headers = {bytes(name).lower(): bytes(value) for name, value in start["headers"]}
    is_text = headers.get(b"content-type", b"").startswith(b"text/plain")
    return is_text and b"content-length" not in headers
