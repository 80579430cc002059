from typing import Any

import pytest

from deployments.domain.errors import InvalidInput
from serve_app.mcp.scope import FixedScope, fixed_scope, read_scope
from tests.support.mcp.calls import Connect, data_of, text


async def test_fixed_fields_are_not_in_the_schemas(connect: Connect) -> None:
    async with connect(agent_id="a") as client:
        for tool in (await client.list_tools()).tools:
            assert "agent_id" not in tool.input_schema["properties"]
            assert "agent_id" not in tool.input_schema.get("required", [])
    async with connect(agent_id="a", user_id="u") as client:
        tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        assert tools["search_memories"]["required"] == ["query"]
        assert tools["count_memories"]["properties"] == {}


async def test_fixed_fields_are_filled_in(connect: Connect) -> None:
    async with connect(agent_id="a", user_id="u") as client:
        data_of(await client.call_tool("store_memory", {"content": "the word is xylophone"}))
        data_of(await client.call_tool("store_memory", {"content": "more", "agent_id": "a"}))
        assert data_of(await client.call_tool("count_memories", {})) == {"count": 2}
        (hit,) = data_of(
            await client.call_tool("search_memories", {"query": "xylophone", "top_k": 1})
        )["memories"]
        assert "user_id" not in hit
    async with connect() as client:
        count = await client.call_tool("count_memories", {"agent_id": "a", "user_id": "u"})
        assert data_of(count) == {"count": 2}


async def test_no_tool_reaches_another_agent(connect: Connect) -> None:
    async with connect() as client:
        memory = {"agent_id": "a", "user_id": "u", "content": "the word is xylophone"}
        stored = data_of(await client.call_tool("store_memory", memory))
    calls: dict[str, dict[str, Any]] = {
        "store_memory": {"user_id": "u", "content": "x"},
        "search_memories": {"user_id": "u", "query": "xylophone"},
        "get_memory": {"id": stored["id"]},
        "list_memories": {},
        "update_memory": {"id": stored["id"], "content": "overwritten"},
        "delete_memory": {"id": stored["id"]},
        "count_memories": {},
    }
    async with connect(agent_id="b") as client:
        assert set(calls) == {tool.name for tool in (await client.list_tools()).tools}
        for tool, arguments in calls.items():
            refused = await client.call_tool(tool, {**arguments, "agent_id": "a"})
            assert refused.is_error
            assert "agent_id: this connection is fixed to 'b'" in text(refused)
            if tool != "store_memory":
                answer = await client.call_tool(tool, arguments)
                assert "xylophone" not in text(answer)
    async with connect() as client:
        unchanged = data_of(
            await client.call_tool("get_memory", {"agent_id": "a", "id": stored["id"]})
        )
        assert unchanged["content"] == "the word is xylophone"
        assert data_of(await client.call_tool("count_memories", {"agent_id": "a"})) == {"count": 1}


async def test_no_tool_reaches_another_user(connect: Connect) -> None:
    async with connect() as client:
        memory = {"agent_id": "a", "user_id": "her", "content": "the word is xylophone"}
        stored = data_of(await client.call_tool("store_memory", memory))
    async with connect(agent_id="a", user_id="him") as client:
        for tool, arguments in (
            ("get_memory", {}),
            ("update_memory", {"content": "overwritten"}),
            ("delete_memory", {}),
        ):
            answer = await client.call_tool(tool, {**arguments, "id": stored["id"]})
            assert answer.is_error
            assert "no memory" in text(answer)
        assert data_of(await client.call_tool("list_memories", {}))["memories"] == []
        assert data_of(await client.call_tool("count_memories", {})) == {"count": 0}
        found = await client.call_tool("search_memories", {"query": "xylophone"})
        assert data_of(found)["memories"] == []
        for tool in ("list_memories", "count_memories"):
            refused = await client.call_tool(tool, {"user_id": "her"})
            assert "user_id: this connection is fixed to 'him'" in text(refused)
    async with connect() as client:
        unchanged = data_of(
            await client.call_tool("get_memory", {"agent_id": "a", "id": stored["id"]})
        )
        assert unchanged["content"] == "the word is xylophone"


@pytest.mark.parametrize("agent", ["", " ", "a ", "\ta", "a\nb", "a\x7f", "x" * 129])
def test_ids_not_valid_in_a_header_are_refused(agent: str) -> None:
    with pytest.raises(InvalidInput, match="agent: "):
        fixed_scope(agent, None)


def test_scope_is_read_from_headers() -> None:
    assert read_scope([], []) == FixedScope()
    assert read_scope(["a"], ["u"]) == FixedScope("a", "u")
    assert read_scope(["é".encode().decode("latin-1")], []) == FixedScope("é")


@pytest.mark.parametrize(
    ("agents", "users", "message"),
    [
        ([""], [], "X-Memex-Agent: String should have at least 1 character"),
        (["a", "b"], [], "X-Memex-Agent: is given more than once"),
        ([], ["u" * 129], "X-Memex-User: String should have at most 128 characters"),
        ([], ["\xff"], "X-Memex-User: is not UTF-8"),
    ],
)
def test_ambiguous_and_invalid_headers_are_refused(
    agents: list[str], users: list[str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_scope(agents, users)
