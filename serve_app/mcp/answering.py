"""Answers an MCP server's calls from the service, in a replica of the graph."""

import logging
import time
from typing import Any, Protocol

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    ReadResourceResult,
    TextContent,
    TextResourceContents,
)
from pydantic import ValidationError

from deployments.domain.errors import (
    InvalidInput,
    MemexError,
    MemoryNotFound,
    RateLimited,
    StartupError,
    Unavailable,
)
from deployments.runtime import logs
from serve_app.mcp.errors import FAULT, error_result, explanation
from serve_app.mcp.prompts import recall
from serve_app.mcp.resources import JSON, read_resource
from serve_app.mcp.results import as_text
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.tools import TOOLS
from serve_app.services.memories import MemoryService

_logger = logging.getLogger(logs.NAME)


class Backend(Protocol):
    """Answers a server's calls: from the graph, or, over stdio, from a running service."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], fixed: FixedScope
    ) -> CallToolResult: ...

    async def read_resource(self, uri: str, fixed: FixedScope) -> ReadResourceResult: ...

    async def recall(self, arguments: dict[str, str], fixed: FixedScope) -> GetPromptResult: ...


class CallMetrics(Protocol):
    """Counts tool calls, and calls that the rate limit refused."""

    def count_rate_limited(self, operation: str) -> None: ...

    def count_tool_call(self, tool: str, is_error: bool, duration_s: float) -> None: ...


class ServiceBackend:
    """Answers from the service in this process."""

    def __init__(self, service: MemoryService, metrics: CallMetrics) -> None:
        self._service = service
        self._metrics = metrics

    async def call_tool(
        self, name: str, arguments: dict[str, Any], fixed: FixedScope
    ) -> CallToolResult:
        """Call a tool and count the call. Errors become results, so that the model reads them."""
        started_s = time.perf_counter()
        is_error = True  # also if the caller disconnects
        try:
            result = await self._call_tool(name, arguments, fixed)
            is_error = bool(result.is_error)
            return result
        finally:
            self._metrics.count_tool_call(name, is_error, time.perf_counter() - started_s)

    async def _call_tool(
        self, name: str, arguments: dict[str, Any], fixed: FixedScope
    ) -> CallToolResult:
        try:
            result = dict(await TOOLS[name].call(self._service, arguments, fixed))
        except (MemexError, ValidationError) as error:
            self._record(name, error)
            return error_result(_message(name, error))
        except Exception as error:
            _logger.error("tool %s failed", name, exc_info=error)
            return error_result(FAULT)
        content = TextContent(type="text", text=as_text(result))
        return CallToolResult(content=[content], structured_content=result)

    async def read_resource(self, uri: str, fixed: FixedScope) -> ReadResourceResult:
        """Raises MCPError."""
        try:
            value = await read_resource(self._service, uri, fixed)
        except (InvalidInput, MemoryNotFound, ValidationError) as error:
            raise MCPError(
                INVALID_PARAMS, explanation("resources/read", error), {"uri": uri}
            ) from None
        except MemexError as error:
            self._record("resources/read", error)
            raise MCPError(INTERNAL_ERROR, _message("resources/read", error)) from None
        except Exception as error:
            _logger.error("reading a resource failed", exc_info=error)
            raise MCPError(INTERNAL_ERROR, FAULT) from None
        text = TextResourceContents(uri=uri, mime_type=JSON, text=as_text(value))
        return ReadResourceResult(contents=[text])

    async def recall(self, arguments: dict[str, str], fixed: FixedScope) -> GetPromptResult:
        """Raises MCPError."""
        try:
            return await recall(self._service, arguments, fixed)
        except (InvalidInput, ValidationError) as error:
            raise MCPError(INVALID_PARAMS, explanation("recall", error)) from None
        except MemexError as error:
            self._record("recall", error)
            raise MCPError(INTERNAL_ERROR, _message("recall", error)) from None
        except Exception as error:
            _logger.error("the prompt recall failed", exc_info=error)
            raise MCPError(INTERNAL_ERROR, FAULT) from None

    def _record(self, request: str, error: Exception) -> None:
        """Count a refused call, or log a failure; Serve adds the request's id to the log line."""
        if isinstance(error, RateLimited):
            self._metrics.count_rate_limited(error.operation)
        elif isinstance(error, Unavailable):
            _logger.warning("%s failed: %s", request, error)
        elif isinstance(error, StartupError):
            _logger.error("%s failed: %s", request, error)


def _message(request: str, error: MemexError | ValidationError) -> str:
    if isinstance(error, StartupError):  # only the operator can fix it, so no details
        return FAULT
    return explanation(request, error)
