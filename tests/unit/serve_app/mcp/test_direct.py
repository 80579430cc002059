"""Ordinary calls go the direct way, and are answered as the SDK answers them."""

from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from deployments.runtime import tracing
from tests.support.mcp.both_ways import (
    MINE,
    NEWEST,
    VERSIONS,
    Both,
    counting,
    headers_of,
    message,
)
from tests.support.mcp.calls import given


@pytest.mark.parametrize("version", [*KNOWN_PROTOCOL_VERSIONS, None])
async def test_every_tool_answers_the_same(went: list[str], version: str | None) -> None:
    async with Both(went).serving() as both:
        metadata = {"k": None, "tiny": 1e-7, "huge": 1e300, "n": [1, 2.0, True], "ü": "\u2028\\"}
        content = 'She said "Grüße, 世界" 🎻.\n'
        stored = await both.call(
            version, "store_memory", **MINE, content=content, metadata=metadata, importance=1.5
        )
        await both.call(version, "store_memory", **MINE, content="She plays the violin.")
        one: dict[str, Any] = {"agent_id": "a", "id": stored["structuredContent"]["id"]}
        found = await both.call(version, "search_memories", **MINE, query="世界 violin")
        assert len(found["structuredContent"]["memories"]) == 2
        tight = await both.call(version, "search_memories", **MINE, query="she", max_tokens=50)
        assert "did not fit" in tight["structuredContent"]["note"]
        read = await both.call(version, "get_memory", **one)
        assert read["structuredContent"]["metadata"] == metadata
        page = await both.call(version, "list_memories", agent_id="a", limit=1)
        cursor = page["structuredContent"]["next_cursor"]
        await both.call(version, "list_memories", agent_id="a", cursor=cursor)
        changed = await both.call(version, "update_memory", **one, content="It was Ana.")
        assert changed["structuredContent"]["content"] == "It was Ana."
        assert (await both.call(version, "count_memories", **MINE))["isError"] is False
        await both.call(version, "delete_memory", **one)
        left = await both.call(version, "count_memories", agent_id="a")
        assert left["structuredContent"] == {"count": 1}


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("search_memories", {}),
    ("search_memories", {**MINE, "query": ""}),
    ("search_memories", {**MINE, "query": "q", "top_k": "3"}),
    ("search_memories", {**MINE, "query": "\ud800"}),
    ("search_memories", {**MINE, "query": "q", "metadata": {"a": float("nan")}}),
    ("store_memory", {**MINE, "content": "x", "importance": float("inf")}),
    ("store_memory", {**MINE, "content": "x", "importance": 10**400}),
    ("store_memory", {**MINE, "content": "x", "metadata": {"\ud800": 1}}),
    ("store_memory", {**MINE, "content": "x", "metadata": {"a": "b" * 17_000}}),
    ("store_memory", {**MINE, "content": "a\x00"}),
    ("get_memory", {"agent_id": "a", "id": "7"}),
    ("get_memory", {"agent_id": "a", "id": "00000000-0000-7000-8000-000000000000"}),
    ("list_memories", {"agent_id": "a", "cursor": "?"}),
    ("count_memories", {"agent_id": None}),
]


@VERSIONS
@pytest.mark.parametrize(("tool", "arguments"), WRONG)
async def test_what_a_tool_refuses(
    went: list[str], version: str, tool: str, arguments: dict[str, Any]
) -> None:
    async with Both(went).serving() as both:
        body = message(version, tool, arguments)
        answer, way = await both.post(body, headers_of(version, tool))
        if way == "direct":  # not each version's reader takes lone surrogates
            assert answer.json()["result"]["isError"] is True


@VERSIONS
async def test_failures_and_limits(went: list[str], version: str) -> None:
    search = {**MINE, "query": "q"}
    async with Both(went, limits=(1, 1)).serving() as both:
        assert not (await both.call(version, "search_memories", **search))["isError"]
        assert (await both.call(version, "search_memories", **search))["isError"]
        assert both.sides[1].metrics.limited == ["search"]
        for side in both.sides:
            side.store.rows.down = side.embedder.down = True
        for tool in ("store_memory", "list_memories", "count_memories"):
            more = {**MINE, "content": "c"} if tool == "store_memory" else {"agent_id": "b"}
            assert (await both.call(version, tool, **more))["isError"]


@VERSIONS
async def test_a_fault_is_told_alike(
    went: list[str], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise RuntimeError("SELECT secret FROM password")

    async with Both(went).serving() as both:
        for side in both.sides:
            monkeypatch.setattr(side.service, "count", broken)
        assert (await both.call(version, "count_memories", agent_id="a"))["isError"]


@VERSIONS
async def test_headers_fix_the_scope(went: list[str], version: str) -> None:
    ana = {"x-memex-agent": "a", "x-memex-user": "ana"}
    async with Both(went).serving() as both:
        stored = await both.call(version, "store_memory", headers=ana, content="Hers.")
        one = {"id": stored["structuredContent"]["id"]}
        another = {**ana, "x-memex-user": "b"}
        assert (await both.call(version, "get_memory", headers=another, **one))["isError"]
        assert not (await both.call(version, "get_memory", headers=ana, **one))["isError"]
        assert (await both.call(version, "count_memories", headers=ana, agent_id="b"))["isError"]
        counted = await both.call(version, "count_memories", headers=ana)
        assert counted["structuredContent"] == {"count": 1}


@VERSIONS
@pytest.mark.parametrize("message_id", [0, -1, 2**53, "", "x", "7", 2**60, "ü", "\ud800"])
async def test_ids_come_back(went: list[str], version: str, message_id: int | str) -> None:
    body = {**counting(version), "id": message_id}
    async with Both(went).serving() as both:
        answer, _ = await both.post(body, headers_of(version, "count_memories"))
        assert answer.status_code == 400 or answer.json()["id"] == message_id


@VERSIONS
@pytest.mark.parametrize(
    "more", [{"progressToken": 7}, {"progressToken": "t"}, {"example.org/call": {"id": "ü"}}, {}]
)
async def test_what_clients_add_makes_no_difference(
    went: list[str], version: str, more: dict[str, Any]
) -> None:
    body = counting(version)
    body["params"]["_meta"] = {**body["params"].get("_meta", {}), **more}
    headers = headers_of(version, "count_memories")
    async with Both(went).serving() as both:
        answer, way = await both.post(body, headers)
        assert (answer.status_code, way) == (200, "direct")


async def test_whoever_traces_gets_the_sdks_spans(
    went: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    async with Both(went).serving() as both:
        _, way = await both.post(counting(NEWEST), headers_of(NEWEST, "count_memories"))
        assert way == "sdk"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_so_do_the_calls_of_the_sdks_client(went: list[str], mode: str) -> None:
    async with Both(went).serving() as both:
        transport = httpx2.ASGITransport(both.sides[1].app, root_path="/mcp")
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http,
            Client(
                streamable_http_client("http://localhost/mcp", http_client=http), mode=mode
            ) as c,
        ):
            await c.list_tools()
            went.clear()
            counted = given(await c.call_tool("count_memories", {"agent_id": "a"}))
            assert (counted, went) == ({"count": 0}, [])
