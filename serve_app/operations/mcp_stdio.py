"""`memex mcp`: the MCP tools over stdin and stdout, for clients that speak nothing else. It lists
tools, resources and prompts itself and forwards calls to a running service."""

import importlib.metadata
import json
import logging
import signal
from typing import Any, TypeVar

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    ClientRequest,
    GetPromptRequest,
    GetPromptRequestParams,
    GetPromptResult,
    ReadResourceRequest,
    ReadResourceRequestParams,
    ReadResourceResult,
    Result,
)
from mcp_types.version import LATEST_MODERN_VERSION

from serve_app.mcp.errors import error_result
from serve_app.mcp.prompts import RECALL
from serve_app.mcp.scope import AGENT_HEADER, USER_HEADER, FixedScope, fixed_scope
from serve_app.mcp.server import build_server
from serve_app.operations.http import valid_url

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 60.0
_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer", bound=Result)


class _Unreachable(MCPError):
    def __init__(self, url: str) -> None:
        super().__init__(
            INTERNAL_ERROR,
            f"memex does not answer at {url}. This is a failure, not an empty memory: "
            "ask the user to start it with `memex serve`, then try again.",
        )


class RemoteBackend:
    """Forwards calls to a running service. Each call has its own client, because a client that
    could not reach the service is unusable afterwards; they share the connections of `http`."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self._url = url
        self._http = http

    async def call_tool(
        self, name: str, arguments: dict[str, Any], _scope: FixedScope
    ) -> CallToolResult:
        """The service's answer, or an error for the model to read."""
        try:
            json.dumps(arguments, allow_nan=False)  # the client would send NaN as null
        except ValueError:
            return error_result("arguments: must not contain numbers that are not finite")
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
        try:
            return await self._send(request, CallToolResult)
        except _Unreachable as error:
            return error_result(str(error))
        except MCPError as error:
            return error_result(
                f"{self._url} answered: {error}. This is a failure, not an empty memory."
            )

    async def read_resource(self, uri: str, _scope: FixedScope) -> ReadResourceResult:
        """Raises MCPError."""
        request = ReadResourceRequest(params=ReadResourceRequestParams(uri=uri))
        return await self._send(request, ReadResourceResult)

    async def recall(self, arguments: dict[str, str], _scope: FixedScope) -> GetPromptResult:
        """Raises MCPError."""
        params = GetPromptRequestParams(name=RECALL, arguments=arguments)
        return await self._send(GetPromptRequest(params=params), GetPromptResult)

    async def _send(self, request: ClientRequest, answer: type[_Answer]) -> _Answer:
        """Raises MCPError if the service answers with one, _Unreachable if it does not answer."""
        transport = streamable_http_client(self._url, http_client=self._http)
        failure: MCPError | None = None
        try:
            # A fixed version, so that the request itself is the first.
            async with Client(transport, mode=LATEST_MODERN_VERSION, cache=None) as client:
                try:
                    return await client.session.send_request(request, answer)
                except MCPError as error:
                    failure = error
        except* httpx2.HTTPError:
            failure = None
        except* Exception as group:
            _logger.error("a call failed: %s", group.exceptions[0])
            failure = MCPError(INTERNAL_ERROR, "the server at this URL does not speak MCP")
        raise failure or _Unreachable(self._url)


def serve_over_stdio(url: str, agent_id: str | None, user_id: str | None) -> None:
    """Serve until stdin ends. Raises InvalidInput for an unusable URL or id."""
    valid_url(url, "http://127.0.0.1:8000/mcp")
    scope = fixed_scope(agent_id, user_id)
    version = importlib.metadata.version("memex-serve")
    logging.basicConfig(level=logging.WARNING, format="memex: %(message)s")  # on stderr
    # Ctrl-C ends the process at once: an exception would wait for the thread that reads stdin.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    anyio.run(_run, url, scope, version)


async def _run(url: str, scope: FixedScope, version: str) -> None:
    fixed = {AGENT_HEADER: scope.agent_id, USER_HEADER: scope.user_id}
    headers = {name.encode(): value.encode() for name, value in fixed.items() if value is not None}
    timeout = httpx2.Timeout(_ANSWER_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    async with httpx2.AsyncClient(headers=headers, timeout=timeout) as http:
        server = build_server(RemoteBackend(url, http), lambda _context: scope, version)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
