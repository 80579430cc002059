"""X-Request-ID: the caller's own if it is usable, else a new one; every answer has it.

Serve's own middleware accepts any value of the header. `RequestIds` wraps it, so that it receives
only checked values. Serve imports `CALLBACK` if the variable CALLBACK_VARIABLE names it.
"""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
CALLBACK_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
CALLBACK = "serve_app.request_ids:middlewares"

_USABLE = re.compile(r"[!-~]{1,128}")  # visible ASCII
_HEADER_NAME = HEADER.lower().encode()


def request_id_of(scope: Scope) -> str | None:
    """The header's value if there is exactly one and it is usable, else None."""
    values = Headers(scope=scope).getlist(HEADER)
    return values[0] if len(values) == 1 and _USABLE.fullmatch(values[0]) else None


def new_request_id() -> str:
    return str(uuid.uuid4())


class RequestIds:
    """ASGI middleware: gives the request one usable id, and its answer the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        if request_id is None:
            request_id = new_request_id()
            headers = [(name, value) for name, value in scope["headers"] if name != _HEADER_NAME]
            scope = {**scope, "headers": [*headers, (_HEADER_NAME, request_id.encode())]}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Replaces the header that Serve may have set.
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)
