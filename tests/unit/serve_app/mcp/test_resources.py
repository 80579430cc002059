import json
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent, TextResourceContents

from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.mcp.calls import Connect, data_of

SCOPE = {"agent_id": "a", "user_id": "u"}


async def read(client: Client, uri: str) -> dict[str, Any]:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert contents.mime_type == "application/json"
    return dict(json.loads(contents.text))


async def test_fixed_scope_lists_its_recent_memories(connect: Connect) -> None:
    async with connect(agent_id="a", user_id="u") as client:
        stored = data_of(await client.call_tool("store_memory", {"content": "first"}))
        data_of(await client.call_tool("store_memory", {"content": "second"}))
        (recent,) = (await client.list_resources()).resources
        assert recent.uri == "memory://recent"
        page = await read(client, "memory://recent")
        assert [memory["content"] for memory in page["memories"]] == ["second", "first"]
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "memory://{id}"
        assert (await read(client, f"memory://{stored['id']}"))["content"] == "first"


async def test_without_a_fixed_scope_the_uri_names_it(connect: Connect) -> None:
    async with connect() as client:
        stored = data_of(await client.call_tool("store_memory", {**SCOPE, "content": "first"}))
        assert (await client.list_resources()).resources == []
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == [
            "memory://{id}{?agent_id}",
            "memory://recent{?agent_id,user_id}",
        ]
        page = await read(client, "memory://recent?agent_id=a&user_id=u")
        assert [memory["content"] for memory in page["memories"]] == ["first"]
        assert (await read(client, "memory://recent?agent_id=a&user_id=x"))["memories"] == []
        one = await read(client, f"memory://{stored['id']}?agent_id=a")
        assert (one["content"], one["user_id"]) == ("first", "u")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("memory://recent", "agent_id: is missing"),
        ("memory://recent?agent_id=a&agent_id=b", "more than once"),
        ("memory://recent?agent_id=a&limit=3", "uri: limit: is unknown; did you mean"),
        ("memory://recent/x?agent_id=a", "neither memory://recent nor"),
        ("memory://7?agent_id=a", "'7' is neither 'recent' nor a memory's id"),
        ("file:///etc/passwd", "neither memory://recent nor"),
        ("memory://[bad", "uri: is malformed"),
        (
            "memory://00000000-0000-7000-8000-000000000000?agent_id=a&user_id=u",
            "only for memory://recent",
        ),
        ("memory://00000000-0000-7000-8000-000000000000?agent_id=a", "no memory 00000000"),
    ],
)
async def test_invalid_uris_are_refused(connect: Connect, uri: str, message: str) -> None:
    async with connect() as client:
        with pytest.raises(MCPError, match=message.replace("?", r"\?")) as caught:
            await client.read_resource(uri)
    assert caught.value.code == -32602


async def test_resources_stay_in_their_scope(connect: Connect, store: InMemoryStore) -> None:
    async with connect() as client:
        stored = data_of(await client.call_tool("store_memory", {**SCOPE, "content": "first"}))
    async with connect(agent_id="b") as client:
        for uri in (f"memory://{stored['id']}", f"memory://{stored['id']}?agent_id=a"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match="fixed to 'b'"):
            await client.read_resource("memory://recent?agent_id=a")
    async with connect(agent_id="a", user_id="x") as client:
        with pytest.raises(MCPError, match="no memory"):
            await client.read_resource(f"memory://{stored['id']}")
        store.rows.down = True
        with pytest.raises(MCPError, match="not an empty memory") as caught:
            await client.read_resource("memory://recent")
    assert caught.value.code == -32603


async def test_recall_prompt_searches_the_end_of_a_long_task_too(connect: Connect) -> None:
    async with connect(**SCOPE) as client:
        for number in range(12):
            content = f"The printer log number {number} repeats the same line."
            await client.call_tool("store_memory", {"content": content})
        answer = "The harbour gate opens with the word lantern-42."
        await client.call_tool("store_memory", {"content": answer})
        question = "Which word opens the harbour gate?"
        filler = "The printer log repeats the same line. " * 60
        for task in (f"{filler}{question}", f"{question} {filler}"):
            result = await client.get_prompt("recall", {"task": task})
            assert answer in str(result.messages)


async def test_recall_prompt_searches_for_the_task(
    connect: Connect, embedder: FakeEmbedder
) -> None:
    async with connect() as client:
        await client.call_tool("store_memory", {**SCOPE, "content": "She wants a violin."})
        (prompt,) = (await client.list_prompts()).prompts
        assert prompt.name == "recall"
        assert [a.name for a in prompt.arguments or []] == ["task", "agent_id", "user_id"]
        result = await client.get_prompt("recall", {"task": "buy a violin", **SCOPE})
        (message,) = result.messages
        assert isinstance(message.content, TextContent)
        assert "The task: buy a violin" in message.content.text
        assert "She wants a violin." in message.content.text
        assert 'one question per call, agent_id "a", user_id "u"' in message.content.text
    async with connect(**SCOPE) as client:
        (prompt,) = (await client.list_prompts()).prompts
        assert [a.name for a in prompt.arguments or []] == ["task"]
        with pytest.raises(MCPError, match="task: is missing"):
            await client.get_prompt("recall", {})
        with pytest.raises(MCPError, match="agent_id: this connection is fixed to 'a'"):
            await client.get_prompt("recall", {"task": "t", "agent_id": "b"})
        with pytest.raises(MCPError, match="query: is unknown; did you mean"):
            await client.get_prompt("recall", {"task": "t", "query": "q"})
        with pytest.raises(MCPError, match="task: should have at most 8000 characters"):
            await client.get_prompt("recall", {"task": "x" * 8_001})
        nothing = await client.get_prompt("recall", {"task": "unwind strands of dna"})
        assert "Nothing related to this is stored." in str(nothing.messages)
        with pytest.raises(MCPError, match="unknown prompt 'x'; known: recall"):
            await client.get_prompt("x", {})
        embedder.down = True
        with pytest.raises(MCPError, match="not an empty memory"):
            await client.get_prompt("recall", {"task": "t"})
