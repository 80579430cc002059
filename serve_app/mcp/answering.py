"""What answers a server's requests: the service itself, in a replica of the graph."""

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
from serve_app.mcp.errors import FAULT, explained, failed
from serve_app.mcp.prompts import recall
from serve_app.mcp.resources import JSON, read_resource
from serve_app.mcp.results import as_text
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.tools import TOOLS
from serve_app.services.memories import MemoryService

_logger = logging.getLogger(logs.NAME)


class Backend(Protocol):
    """Behind the server: the graph, or over stdio a running service."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], scope: FixedScope
    ) -> CallToolResult: ...

    async def read_resource(self, uri: str, scope: FixedScope) -> ReadResourceResult: ...

    async def recall(self, arguments: dict[str, str], scope: FixedScope) -> GetPromptResult: ...


class CallMetrics(Protocol):
    """Told of calls, and of those that the rate limit refused."""

    def rate_limited(self, operation: str) -> None: ...

    def tool_called(self, tool: str, is_error: bool, duration_s: float) -> None: ...


class ServiceBackend:
    """Answers from the service."""

    def __init__(self, service: MemoryService, metrics: CallMetrics) -> None:
        self._service = service
        self._metrics = metrics

    async def call_tool(
        self, name: str, arguments: dict[str, Any], scope: FixedScope
    ) -> CallToolResult:
        """Errors are answers here, for the model to read."""
        started = time.perf_counter()
        is_error = True  # also where the caller has gone away
        try:
            result = await self._call_tool(name, arguments, scope)
            is_error = bool(result.is_error)
            return result
        finally:
            self._metrics.tool_called(name, is_error, time.perf_counter() - started)

    async def _call_tool(
        self, name: str, arguments: dict[str, Any], scope: FixedScope
    ) -> CallToolResult:
        try:
            result = dict(await TOOLS[name].call(self._service, arguments, scope))
        except (MemexError, ValidationError) as error:
            self._note(name, error)
            return failed(_said(name, error))
        except Exception as error:
            _logger.error("tool %s failed", name, exc_info=error)
            return failed(FAULT)
        content = TextContent(type="text", text=as_text(result))
        return CallToolResult(content=[content], structured_content=result)

    async def read_resource(self, uri: str, scope: FixedScope) -> ReadResourceResult:
        """Raises MCPError."""
        try:
            value = await read_resource(self._service, uri, scope)
        except (InvalidInput, MemoryNotFound, ValidationError) as error:
            raise MCPError(
                INVALID_PARAMS, explained("resources/read", error), {"uri": uri}
            ) from None
        except MemexError as error:
            self._note("resources/read", error)
            raise MCPError(INTERNAL_ERROR, _said("resources/read", error)) from None
        except Exception as error:
            _logger.error("reading a resource failed", exc_info=error)
            raise MCPError(INTERNAL_ERROR, FAULT) from None
        text = TextResourceContents(uri=uri, mime_type=JSON, text=as_text(value))
        return ReadResourceResult(contents=[text])

    async def recall(self, arguments: dict[str, str], scope: FixedScope) -> GetPromptResult:
        """Raises MCPError."""
        try:
            return await recall(self._service, arguments, scope)
        except (InvalidInput, ValidationError) as error:
            raise MCPError(INVALID_PARAMS, explained("recall", error)) from None
        except MemexError as error:
            self._note("recall", error)
            raise MCPError(INTERNAL_ERROR, _said("recall", error)) from None
        except Exception as error:
            _logger.error("the prompt failed", exc_info=error)
            raise MCPError(INTERNAL_ERROR, FAULT) from None

    def _note(self, asked: str, error: Exception) -> None:
        """Serve adds the request's id to a line of the log."""
        if isinstance(error, RateLimited):
            self._metrics.rate_limited(error.operation)
        elif isinstance(error, Unavailable):
            _logger.warning("%s failed: %s", asked, error)
        elif isinstance(error, StartupError):
            _logger.error("%s failed: %s", asked, error)


def _said(asked: str, error: MemexError | ValidationError) -> str:
    if isinstance(error, StartupError):  # the operator's to mend: a model cannot
        return FAULT
    return explained(asked, error)
