"""The shortest way to a tool: ordinary calls are answered here, before the SDK.

The SDK reads, checks and writes each message several times, at several times the cost of all that
the ingress does besides. Here each is read and written once, and checked by the SDK's own models.
Whatever is out of the ordinary in any way goes to the SDK as it came; where it is not, both would
answer the same, which a test holds them to.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pydantic_core
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundModernRoute,
    classify_inbound_request,
)
from mcp_types import (
    DEFAULT_NEGOTIATED_VERSION,
    SERVER_INFO_META_KEY,
    CallToolRequestParams,
    CallToolResult,
)
from mcp_types.methods import validate_client_request
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.mcp.answering import Backend
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.tools import TOOLS

_METHOD = "tools/call"
_JSON = "application/json"
_MESSAGE_KEYS = {"jsonrpc", "id", "method", "params"}
_PARAMS_KEYS = {"name", "arguments", "_meta"}
_HEADERS = {
    name.encode(): name
    for name in (
        "accept",
        "content-type",
        MCP_PROTOCOL_VERSION_HEADER,
        MCP_METHOD_HEADER,
        MCP_NAME_HEADER,
    )
}
_MAX_PLAIN_ID = 2**53


@dataclass(frozen=True, slots=True)
class _Call:
    id: int | str
    name: str
    arguments: dict[str, Any]
    is_modern: bool


class DirectCalls:
    """ASGI, between the SDK's bound on bodies, which receives them as a whole, and its application,
    which answers in JSON and has no middleware.

    `fixed_by` tells what a request's headers fix, and `server_info` is what the newer versions'
    answers say about the server.
    """

    def __init__(
        self,
        app: ASGIApp,
        backend: Backend,
        fixed_by: Callable[[Scope], FixedScope],
        server_info: dict[str, Any],
    ) -> None:
        self._app = app
        self._backend = backend
        self._fixed_by = fixed_by
        self._meta = {SERVER_INFO_META_KEY: server_info}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _plain_headers(scope["headers"])
        if headers is None:
            await self._app(scope, receive, send)
            return
        message = await receive()
        call = _ordinary(message, headers)
        if call is None:
            await self._app(scope, _again(message, receive), send)
            return
        fixed = self._fixed_by(scope)
        result = await self._backend.call_tool(call.name, call.arguments, fixed)
        await Response(self._written(call, result), media_type=_JSON)(scope, receive, send)

    def _written(self, call: _Call, result: CallToolResult) -> bytes:
        said: dict[str, Any] = {"content": result.content, "isError": result.is_error}
        if result.structured_content is not None:
            said["structuredContent"] = result.structured_content
        if call.is_modern:
            said |= {"resultType": result.result_type, "_meta": self._meta}
        answer = {"jsonrpc": "2.0", "id": call.id, "result": said}
        return pydantic_core.to_json(answer, by_alias=True, exclude_none=True)


def _again(message: Message, receive: Receive) -> Receive:
    """What gives a message that has been received once more, and then those after it."""
    waiting = [message]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


def _plain_headers(given: Iterable[tuple[bytes, bytes]]) -> dict[str, str] | None:
    """Those that the SDK looks at, by name, if the request is JSON and wants it."""
    headers: dict[str, str] = {}
    for raw, value in given:
        name = _HEADERS.get(raw)
        if name is None:
            continue
        if name in headers:
            return None
        headers[name] = value.decode("latin-1")
    if headers.get("content-type") != _JSON:
        return None
    wanted = headers.get("accept", "").split(",")
    return headers if _JSON in [kind.strip() for kind in wanted] else None


def _ordinary(message: Message, headers: dict[str, str]) -> _Call | None:
    """The call of a tool that a request is, if there is nothing else about it."""
    if message["type"] != "http.request" or message.get("more_body", False):
        return None
    body = message.get("body", b"")
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
    if version not in KNOWN_PROTOCOL_VERSIONS:
        return None
    is_modern = version in MODERN_PROTOCOL_VERSIONS
    try:
        # As the SDK reads them: the two differ in what they take.
        read = json.loads(body) if is_modern else pydantic_core.from_json(body)
    except (ValueError, RecursionError):
        return None
    if type(read) is not dict or not _is_plain(read):
        return None
    params = read["params"]
    try:
        validate_client_request(_METHOD, version, params)
        CallToolRequestParams.model_validate(params, by_name=False)
    except ValidationError:
        return None
    if is_modern:
        route = classify_inbound_request(read, headers=headers)
        if not isinstance(route, InboundModernRoute):
            return None
    return _Call(read["id"], params["name"], params.get("arguments", {}), is_modern)


def _is_plain(read: dict[str, Any]) -> bool:
    """Whether a message has what a call of one of our tools has, and no more."""
    if read.keys() != _MESSAGE_KEYS or read["jsonrpc"] != "2.0" or read["method"] != _METHOD:
        return False
    if type(read["id"]) is int:
        if abs(read["id"]) > _MAX_PLAIN_ID:
            return False
    elif type(read["id"]) is not str or not read["id"].isascii():
        return False
    params = read["params"]
    if type(params) is not dict or not params.keys() <= _PARAMS_KEYS:
        return False
    name, arguments = params.get("name"), params.get("arguments", {})
    if type(name) is not str or name not in TOOLS or type(arguments) is not dict:
        return False
    return arguments.keys() <= TOOLS[name].arguments.model_fields.keys()
