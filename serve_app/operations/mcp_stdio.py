"""`memex mcp`: the same tools over stdin and stdout, for clients that speak nothing else. What is
offered is known here; calls go on to a running service."""

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

from serve_app.mcp.errors import failed
from serve_app.mcp.prompts import RECALL
from serve_app.mcp.scope import AGENT_HEADER, USER_HEADER, FixedScope, fixed_scope
from serve_app.mcp.server import build_server
from serve_app.operations.http import checked

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 60.0
_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer", bound=Result)


class _Away(MCPError):
    def __init__(self, url: str) -> None:
        super().__init__(
            INTERNAL_ERROR,
            f"memex does not answer at {url}. This is a failure, not an empty memory: "
            "ask the user to start it with `memex serve`, then try again.",
        )


class RemoteBackend:
    """Answers from a running service. Each call has a client of its own, since one whose call could
    not reach the service is of no use afterwards; their connections are `http`'s and stay."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self._url = url
        self._http = http

    async def call_tool(
        self, name: str, arguments: dict[str, Any], _scope: FixedScope
    ) -> CallToolResult:
        """What the service answers, or an error for the model to read."""
        try:
            json.dumps(arguments, allow_nan=False)  # on the way, NaN would become null
        except ValueError:
            return failed("arguments: must not contain numbers that are not finite")
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
        try:
            return await self._asked(request, CallToolResult)
        except _Away as error:
            return failed(str(error))
        except MCPError as error:
            return failed(f"{self._url} answered: {error}. This is a failure, not an empty memory.")

    async def read_resource(self, uri: str, _scope: FixedScope) -> ReadResourceResult:
        """Raises MCPError."""
        request = ReadResourceRequest(params=ReadResourceRequestParams(uri=uri))
        return await self._asked(request, ReadResourceResult)

    async def recall(self, arguments: dict[str, str], _scope: FixedScope) -> GetPromptResult:
        """Raises MCPError."""
        params = GetPromptRequestParams(name=RECALL, arguments=arguments)
        return await self._asked(GetPromptRequest(params=params), GetPromptResult)

    async def _asked(self, request: ClientRequest, answer: type[_Answer]) -> _Answer:
        """Raises MCPError where the service says so, and _Away where it says nothing."""
        transport = streamable_http_client(self._url, http_client=self._http)
        refused: MCPError | None = None
        try:
            # A fixed version: nothing is asked before the request itself.
            async with Client(transport, mode=LATEST_MODERN_VERSION, cache=None) as client:
                try:
                    return await client.session.send_request(request, answer)
                except MCPError as error:
                    refused = error
        except* httpx2.HTTPError:
            refused = None
        except* Exception as group:
            _logger.error("a call failed: %s", group.exceptions[0])
            refused = MCPError(INTERNAL_ERROR, "what answers there does not speak MCP")
        raise refused or _Away(self._url)


def serve_over_stdio(url: str, agent_id: str | None, user_id: str | None) -> None:
    """Until stdin ends. Raises InvalidInput for a URL or an id that cannot be used."""
    checked(url, "http://127.0.0.1:8000/mcp")
    scope = fixed_scope(agent_id, user_id)
    version = importlib.metadata.version("memex-serve")
    logging.basicConfig(level=logging.WARNING, format="memex: %(message)s")  # on stderr
    # Stdin is read in a thread, which an exception would wait for; there is nothing to undo.
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
