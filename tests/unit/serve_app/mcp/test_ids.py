"""Ids and blank text: the rules of the REST API hold for tools and headers."""

from typing import Any

import pytest

from deployments.domain.errors import InvalidInput
from serve_app.mcp.scope import read_scope
from tests.support.mcp.calls import Connect, text

IDS = {"agent_id": "a", "user_id": "u"}


@pytest.mark.parametrize("bad", [" a", "a\nb", "e\u0301", "a\u200bb", "\u200b", ".."], ids=ascii)
async def test_every_tool_refuses_ids_that_break_the_rules(connect: Connect, bad: str) -> None:
    async with connect() as client:
        for tool in (await client.list_tools()).tools:
            for name in ("agent_id", "user_id"):
                if name in tool.input_schema["properties"]:
                    result = await client.call_tool(tool.name, {**IDS, name: bad})
                    assert result.is_error
                    assert f"{name}: must " in text(result), tool.name
    with pytest.raises(InvalidInput):
        read_scope([bad], [])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("store_memory", {"content": "\u200b \n"}), ("search_memories", {"query": "\u3000"})],
)
async def test_tools_refuse_blank_text(
    connect: Connect, tool: str, arguments: dict[str, Any]
) -> None:
    async with connect() as client:
        result = await client.call_tool(tool, {**IDS, **arguments})
        assert result.is_error
        assert "must not be blank" in text(result)
