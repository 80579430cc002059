"""X-Request-ID: the caller's own where it can be used, else a new one; in every answer.

Serve has a middleware of its own that takes whatever the header holds. Ours stands around it (a
callback that Serve is told of by CALLBACK_VARIABLE), so that what it takes has been looked at.
"""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
CALLBACK_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
CALLBACK = "serve_app.request_ids:middlewares"

_USABLE = re.compile(r"[!-~]{1,128}")  # visible ASCII
_NAME = HEADER.lower().encode()


def request_id_of(scope: Scope) -> str | None:
    """The header's value, where there is one header and it can be used."""
    given = Headers(scope=scope).getlist(HEADER)
    return given[0] if len(given) == 1 and _USABLE.fullmatch(given[0]) else None


def new_request_id() -> str:
    return str(uuid.uuid4())


class RequestIds:
    """ASGI middleware: the request has one usable id, and its answer has the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        if request_id is None:
            request_id = new_request_id()
            headers = [(name, value) for name, value in scope["headers"] if name != _NAME]
            scope = {**scope, "headers": [*headers, (_NAME, request_id.encode())]}

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                # In place of Serve's, if that has put it there.
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, with_id)


def middlewares() -> list[Middleware]:
    """What Serve is to put around its own, in each process that speaks HTTP."""
    return [Middleware(RequestIds)]
