"""Ordinary calls are answered directly, exactly as the SDK answers them."""

from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from deployments.runtime import tracing
from tests.support.mcp.both_ways import (
    NEWEST,
    SCOPE,
    VERSIONS,
    Both,
    count_message,
    headers_of,
    message,
)
from tests.support.mcp.calls import data_of


@pytest.mark.parametrize("version", [*KNOWN_PROTOCOL_VERSIONS, None])
async def test_every_tool_answers_like_the_sdk(sdk_calls: list[str], version: str | None) -> None:
    async with Both(sdk_calls).serving() as both:
        metadata = {"k": None, "tiny": 1e-7, "huge": 1e300, "n": [1, 2.0, True], "ü": "\u2028\\"}
        content = 'She said "Grüße, 世界" 🎻.\n'
        stored = await both.call(
            version, "store_memory", **SCOPE, content=content, metadata=metadata, importance=1.5
        )
        await both.call(version, "store_memory", **SCOPE, content="She plays the violin.")
        one: dict[str, Any] = {"agent_id": "a", "id": stored["structuredContent"]["id"]}
        found = await both.call(version, "search_memories", **SCOPE, query="世界 violin")
        assert len(found["structuredContent"]["memories"]) == 2
        tight = await both.call(version, "search_memories", **SCOPE, query="she", max_tokens=50)
        assert "did not fit" in tight["structuredContent"]["note"]
        read = await both.call(version, "get_memory", **one)
        assert read["structuredContent"]["metadata"] == metadata
        page = await both.call(version, "list_memories", agent_id="a", limit=1)
        cursor = page["structuredContent"]["next_cursor"]
        await both.call(version, "list_memories", agent_id="a", cursor=cursor)
        changed = await both.call(version, "update_memory", **one, content="It was Ana.")
        assert changed["structuredContent"]["content"] == "It was Ana."
        assert (await both.call(version, "count_memories", **SCOPE))["isError"] is False
        await both.call(version, "delete_memory", **one)
        remaining = await both.call(version, "count_memories", agent_id="a")
        assert remaining["structuredContent"] == {"count": 1}


INVALID: list[tuple[str, dict[str, Any]]] = [
    ("search_memories", {}),
    ("search_memories", {**SCOPE, "query": ""}),
    ("search_memories", {**SCOPE, "query": "q", "top_k": "three"}),
    ("search_memories", {**SCOPE, "query": "\ud800"}),
    ("search_memories", {**SCOPE, "query": "q", "metadata": {"a": float("nan")}}),
    ("store_memory", {**SCOPE, "content": "x", "importance": float("inf")}),
    ("store_memory", {**SCOPE, "content": "x", "importance": 10**400}),
    ("store_memory", {**SCOPE, "content": "x", "metadata": {"\ud800": 1}}),
    ("store_memory", {**SCOPE, "content": "x", "metadata": {"a": "b" * 17_000}}),
    ("store_memory", {**SCOPE, "content": "a\x00"}),
    ("get_memory", {"agent_id": "a", "id": "7"}),
    ("get_memory", {"agent_id": "a", "id": "00000000-0000-7000-8000-000000000000"}),
    ("list_memories", {"agent_id": "a", "cursor": "?"}),
    ("count_memories", {"agent_id": None}),
]


@VERSIONS
@pytest.mark.parametrize(("tool", "arguments"), INVALID)
async def test_refused_arguments_are_answered_like_the_sdk(
    sdk_calls: list[str], version: str, tool: str, arguments: dict[str, Any]
) -> None:
    async with Both(sdk_calls).serving() as both:
        body = message(version, tool, arguments)
        answer, handler = await both.post(body, headers_of(version, tool))
        if handler == "direct":  # the parsers of some versions refuse lone surrogates
            assert answer.json()["result"]["isError"] is True


@VERSIONS
async def test_failures_and_rate_limits_are_answered_like_the_sdk(
    sdk_calls: list[str], version: str
) -> None:
    search = {**SCOPE, "query": "q"}
    async with Both(sdk_calls, limits=(1, 1)).serving() as both:
        assert not (await both.call(version, "search_memories", **search))["isError"]
        assert (await both.call(version, "search_memories", **search))["isError"]
        assert both.sides[1].metrics.limited == ["search"]
        for side in both.sides:
            side.store.rows.down = side.embedder.down = True
        for tool in ("store_memory", "list_memories", "count_memories"):
            arguments = {**SCOPE, "content": "c"} if tool == "store_memory" else {"agent_id": "b"}
            assert (await both.call(version, tool, **arguments))["isError"]


@VERSIONS
async def test_fault_is_answered_like_the_sdk(
    sdk_calls: list[str], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise RuntimeError("SELECT secret FROM password")

    async with Both(sdk_calls).serving() as both:
        for side in both.sides:
            monkeypatch.setattr(side.service, "count", broken)
        assert (await both.call(version, "count_memories", agent_id="a"))["isError"]


@VERSIONS
async def test_headers_fix_the_scope(sdk_calls: list[str], version: str) -> None:
    ana = {"x-memex-agent": "a", "x-memex-user": "ana"}
    async with Both(sdk_calls).serving() as both:
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
async def test_message_ids_are_returned(
    sdk_calls: list[str], version: str, message_id: int | str
) -> None:
    body = {**count_message(version), "id": message_id}
    async with Both(sdk_calls).serving() as both:
        answer, _ = await both.post(body, headers_of(version, "count_memories"))
        assert answer.status_code == 400 or answer.json()["id"] == message_id


@VERSIONS
@pytest.mark.parametrize(
    "extra", [{"progressToken": 7}, {"progressToken": "t"}, {"example.org/call": {"id": "ü"}}, {}]
)
async def test_client_metadata_does_not_change_the_answer(
    sdk_calls: list[str], version: str, extra: dict[str, Any]
) -> None:
    body = count_message(version)
    body["params"]["_meta"] = {**body["params"].get("_meta", {}), **extra}
    headers = headers_of(version, "count_memories")
    async with Both(sdk_calls).serving() as both:
        answer, handler = await both.post(body, headers)
        assert (answer.status_code, handler) == (200, "direct")


async def test_tracing_sends_calls_to_the_sdk(
    sdk_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    async with Both(sdk_calls).serving() as both:
        _, handler = await both.post(count_message(NEWEST), headers_of(NEWEST, "count_memories"))
        assert handler == "sdk"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_calls_of_the_sdk_client_are_answered_directly(
    sdk_calls: list[str], mode: str
) -> None:
    async with Both(sdk_calls).serving() as both:
        transport = httpx2.ASGITransport(both.sides[1].app, root_path="/mcp")
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http,
            Client(
                streamable_http_client("http://localhost/mcp", http_client=http), mode=mode
            ) as c,
        ):
            await c.list_tools()
            sdk_calls.clear()
            counted = data_of(await c.call_tool("count_memories", {"agent_id": "a"}))
            assert (counted, sdk_calls) == ({"count": 0}, [])
