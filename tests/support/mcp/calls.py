"""The MCP SDK's client and the results of its calls."""

from collections.abc import Callable
from typing import Any

from mcp import Client
from mcp_types import CallToolResult, TextContent

Connect = Callable[..., Client]
"""`connect(agent_id="a", mode="legacy")`"""


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def data_of(result: CallToolResult) -> dict[str, Any]:
    """The structured content of a call that succeeded."""
    assert not result.is_error, text(result)
    assert result.structured_content is not None
    data: dict[str, Any] = result.structured_content
    return data
