"""MCP on the running service with the SDK's client: two replicas, both protocol eras, stdio."""

import asyncio
import itertools
import sys
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ray.service import Service
from tests.support.ray.waiting import until

ERAS = ("auto", "legacy")
_agents = (f"mcp agent {n}" for n in itertools.count())


@pytest.fixture
def scope() -> dict[str, Any]:
    return {"agent_id": next(_agents), "user_id": "user"}


def data_of(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    assert result.structured_content is not None
    content: dict[str, Any] = result.structured_content
    return content


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def test_any_replica_answers_any_call(
    service: Service, client: httpx2.AsyncClient, scope: dict[str, Any]
) -> None:
    """200 calls, each on a connection of its own, both eras interleaved."""
    turn = asyncio.Semaphore(4)

    async def one(n: int) -> None:
        async with turn, Client(f"{service.url}/mcp", mode=ERAS[n % 2]) as mcp:
            if n % 4 < 2:
                content = {"content": f"memory number {n}"}
                data_of(await mcp.call_tool("store_memory", {**scope, **content}))
            else:
                query = {"query": f"number {n}", "top_k": 3}
                found = data_of(await mcp.call_tool("search_memories", {**scope, **query}))
                assert found["left_out"] == 0

    await asyncio.gather(*(one(n) for n in range(200)))
    count = await client.get("/v1/memories/count", params=scope)
    assert count.json()["count"] == 100

    async def both_replicas_have_answered() -> bool:
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        replicas = {
            sample.labels["replica"]
            for family in families
            if family.name == "memex_http_requests"
            for sample in family.samples
            if sample.labels["route"] == "/mcp" and sample.labels["status"] == "200"
        }
        return len(replicas) == 2

    await until(both_replicas_have_answered, 40)


async def test_rest_and_mcp_share_memories(
    service: Service, client: httpx2.AsyncClient, scope: dict[str, Any]
) -> None:
    stored = (
        await client.post("/v1/memories", json={**scope, "content": "She plays the violin."})
    ).json()
    async with Client(f"{service.url}/mcp") as mcp:
        search = {**scope, "query": "which instrument?"}
        (hit,) = data_of(await mcp.call_tool("search_memories", search))["memories"]
        rest = (await client.post("/v1/memories/search", json=search)).json()["results"]
        assert (hit["id"], hit["score"]) == (rest[0]["id"], rest[0]["score"])
        one = {"agent_id": scope["agent_id"], "id": stored["id"]}
        data_of(await mcp.call_tool("update_memory", {**one, "content": "She plays the cello."}))
        url, owner = f"/v1/memories/{stored['id']}", {"agent_id": scope["agent_id"]}
        assert (await client.get(url, params=owner)).json()["content"] == "She plays the cello."
        data_of(await mcp.call_tool("delete_memory", one))
        assert (await client.get(url, params=owner)).status_code == 404


@pytest.mark.parametrize("era", ERAS)
async def test_no_tool_reaches_another_scope(
    service: Service, scope: dict[str, Any], era: str
) -> None:
    async with Client(f"{service.url}/mcp", mode=era) as mcp:
        content = {"content": "the hidden word is xylophone"}
        mine = data_of(await mcp.call_tool("store_memory", {**scope, **content}))
        one = {"id": mine["id"]}
        calls: dict[str, dict[str, Any]] = {
            "search_memories": {"user_id": "user", "query": "xylophone"},
            "get_memory": one,
            "list_memories": {},
            "update_memory": {**one, "importance": 0},
            "delete_memory": one,
            "count_memories": {},
        }
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert names == {*calls, "store_memory"}
        agent = scope["agent_id"]
        for other in (agent + "x", agent.upper(), "%", "_", "' or '1'='1", agent + "\u0301"):
            for tool, arguments in calls.items():
                answer = await mcp.call_tool(tool, {**arguments, "agent_id": other})
                assert "xylophone" not in text(answer)
                if tool == "count_memories":
                    assert data_of(answer) == {"count": 0}
        unchanged = data_of(await mcp.call_tool("get_memory", {"agent_id": agent, **one}))
        assert (unchanged["content"], unchanged.get("importance", 1)) == (content["content"], 1)


@pytest.mark.parametrize("era", ERAS)
async def test_headers_fix_the_scope(service: Service, scope: dict[str, Any], era: str) -> None:
    headers = {"X-Memex-Agent": scope["agent_id"], "X-Memex-User": scope["user_id"]}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(f"{service.url}/mcp", http_client=http)
        async with Client(transport, mode=era) as mcp:
            tools = {tool.name: tool.input_schema for tool in (await mcp.list_tools()).tools}
            assert tools["search_memories"]["required"] == ["query"]
            data_of(await mcp.call_tool("store_memory", {"content": "a thing to keep"}))
            (hit,) = data_of(await mcp.call_tool("search_memories", {"query": "thing"}))["memories"]
            refused = await mcp.call_tool("count_memories", {"agent_id": "another"})
            assert refused.is_error
            assert "this connection is fixed to" in text(refused)
            (recent,) = (await mcp.read_resource("memory://recent")).contents
            assert hit["id"] in str(recent)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_http_methods_hosts_and_origins_are_checked(
    client: httpx2.AsyncClient, path: str
) -> None:
    for method in ("GET", "DELETE"):
        answer = await client.request(method, path, headers={"accept": "text/event-stream"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"accept": "application/json, text/event-stream"}
    assert (await client.post(path, json=call, headers=headers)).status_code == 200
    for bad, status in (({"host": "evil.example"}, 421), ({"origin": "https://evil.example"}, 403)):
        answer = await client.post(path, json=call, headers={**headers, **bad})
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("era", ERAS)
async def test_stdio_with_a_fixed_scope(service: Service, scope: dict[str, Any], era: str) -> None:
    fixed = ["--agent", scope["agent_id"], "--user", "user"]
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "serve_app.cli", "mcp", "--url", f"{service.url}/mcp", *fixed],
    )
    async with Client(command, mode=era) as mcp:
        stored = data_of(await mcp.call_tool("store_memory", {"content": "She likes olives."}))
        found = data_of(await mcp.call_tool("search_memories", {"query": "food"}))
        assert [hit["id"] for hit in found["memories"]] == [stored["id"]]
        refused = await mcp.call_tool("get_memory", {"id": "7"})
        assert refused.is_error
        assert "id: Input should be a valid UUID" in text(refused)
        (contents,) = (await mcp.read_resource(f"memory://{stored['id']}")).contents
        assert "She likes olives." in str(contents)
        prompt = await mcp.get_prompt("recall", {"task": "cook for her"})
        assert "She likes olives." in str(prompt.messages)


@pytest.mark.parametrize("era", ERAS)
async def test_stdio_without_the_service(era: str) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "serve_app.cli", "mcp", "--url", "http://127.0.0.1:1/mcp"],
    )
    async with Client(command, mode=era) as mcp:
        assert len((await mcp.list_tools()).tools) == 7
        for _ in range(2):
            answer = await mcp.call_tool("count_memories", {"agent_id": "a"})
            assert answer.is_error
            assert "memex does not answer at http://127.0.0.1:1/mcp" in text(answer)
            assert "not an empty memory" in text(answer)
