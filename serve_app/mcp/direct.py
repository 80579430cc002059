"""Answers plain tool calls without the SDK.

The SDK parses, validates and serialises each message several times, which costs several times as
much as the rest of the ingress's work. Here each message is parsed and serialised once, and
validated with the SDK's own models. A request that is unusual in any way goes to the SDK unchanged.
For all others the SDK would give the same answer; tests compare the two.
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
_HEADERS = {  # the headers that the SDK reads
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
    """ASGI middleware that answers plain tool calls from the backend.

    It runs inside the SDK's body limit, which receives each body as a whole, and around the SDK's
    application, which must answer in JSON and have no middleware. `fixed_scope_of` returns the
    scope that a request's headers fix; `server_info` goes into the answers of newer protocol
    versions.
    """

    def __init__(
        self,
        app: ASGIApp,
        backend: Backend,
        fixed_scope_of: Callable[[Scope], FixedScope],
        server_info: dict[str, Any],
    ) -> None:
        self._app = app
        self._backend = backend
        self._fixed_scope_of = fixed_scope_of
        self._meta = {SERVER_INFO_META_KEY: server_info}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _sdk_headers(scope["headers"])
        if headers is None:
            await self._app(scope, receive, send)
            return
        message = await receive()
        call = _plain_call(message, headers)
        if call is None:
            await self._app(scope, _with_replay(message, receive), send)
            return
        fixed = self._fixed_scope_of(scope)
        result = await self._backend.call_tool(call.name, call.arguments, fixed)
        await Response(self._answer(call, result), media_type=_JSON)(scope, receive, send)

    def _answer(self, call: _Call, result: CallToolResult) -> bytes:
        fields: dict[str, Any] = {"content": result.content, "isError": result.is_error}
        if result.structured_content is not None:
            fields["structuredContent"] = result.structured_content
        if call.is_modern:
            fields |= {"resultType": result.result_type, "_meta": self._meta}
        answer = {"jsonrpc": "2.0", "id": call.id, "result": fields}
        return pydantic_core.to_json(answer, by_alias=True, exclude_none=True)


def _with_replay(message: Message, receive: Receive) -> Receive:
    """A `receive` that returns `message`, which has already been received, before later ones."""
    waiting = [message]

    async def replaying_receive() -> Message:
        return waiting.pop() if waiting else await receive()

    return replaying_receive


def _sdk_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str] | None:
    """The headers that the SDK reads, by name; None unless the request sends and accepts JSON and
    has none of them twice."""
    headers: dict[str, str] = {}
    for raw_name, value in raw_headers:
        name = _HEADERS.get(raw_name)
        if name is None:
            continue
        if name in headers:
            return None
        headers[name] = value.decode("latin-1")
    if headers.get("content-type") != _JSON:
        return None
    accepted = headers.get("accept", "").split(",")
    return headers if _JSON in [media_type.strip() for media_type in accepted] else None


def _plain_call(message: Message, headers: dict[str, str]) -> _Call | None:
    """The tool call that a request makes; None if anything about the request is unusual."""
    if message["type"] != "http.request" or message.get("more_body", False):
        return None
    body = message.get("body", b"")
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
    if version not in KNOWN_PROTOCOL_VERSIONS:
        return None
    is_modern = version in MODERN_PROTOCOL_VERSIONS
    try:
        # The SDK's parser for this version: the two do not accept the same texts.
        request = json.loads(body) if is_modern else pydantic_core.from_json(body)
    except (ValueError, RecursionError):
        return None
    if type(request) is not dict or not _is_plain(request):
        return None
    params = request["params"]
    try:
        validate_client_request(_METHOD, version, params)
        CallToolRequestParams.model_validate(params, by_name=False)
    except ValidationError:
        return None
    if is_modern:
        route = classify_inbound_request(request, headers=headers)
        if not isinstance(route, InboundModernRoute):
            return None
    return _Call(request["id"], params["name"], params.get("arguments", {}), is_modern)


def _is_plain(request: dict[str, Any]) -> bool:
    """Whether a message has exactly the parts of a call of one of our tools."""
    if request.keys() != _MESSAGE_KEYS:
        return False
    if request["jsonrpc"] != "2.0" or request["method"] != _METHOD:
        return False
    if type(request["id"]) is int:
        if abs(request["id"]) > _MAX_PLAIN_ID:
            return False
    elif type(request["id"]) is not str or not request["id"].isascii():
        return False
    params = request["params"]
    if type(params) is not dict or not params.keys() <= _PARAMS_KEYS:
        return False
    name, arguments = params.get("name"), params.get("arguments", {})
    if type(name) is not str or name not in TOOLS or type(arguments) is not dict:
        return False
    return arguments.keys() <= TOOLS[name].arguments.model_fields.keys()
