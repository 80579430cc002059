import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import ModelMismatch
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.tools import TOOLS
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.mcp.calls import Connect, data_of, text
from tests.support.recorded import RecordedMetrics

IDS = {"agent_id": "a", "user_id": "u"}
READERS = {"search_memories", "get_memory", "list_memories", "count_memories"}
NOWHERE = "00000000-0000-7000-8000-000000000000"


def keys_of(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return set(schema) | {key for value in schema.values() for key in keys_of(value)}
    if isinstance(schema, list):
        return {key for value in schema for key in keys_of(value)}
    return set()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_tools_are_listed_with_schemas_and_annotations(connect: Connect, mode: str) -> None:
    async with connect(mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == READERS | {"store_memory", "update_memory", "delete_memory"}
    for name, tool in tools.items():
        assert tool.title
        assert tool.description
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (name in READERS)
        assert tool.annotations.destructive_hint is (name in ("update_memory", "delete_memory"))
        assert tool.annotations.idempotent_hint is (name != "store_memory")
        assert tool.annotations.open_world_hint is False
        assert "agent_id" in tool.input_schema["required"]
        assert tool.input_schema["additionalProperties"] is False
        assert not keys_of([tool.input_schema, tool.output_schema]) & {"$ref", "$defs"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_memory_is_stored_found_changed_and_deleted(connect: Connect, mode: str) -> None:
    async with connect(mode) as client:
        stored = data_of(
            await client.call_tool("store_memory", {**IDS, "content": "She plays the violin."})
        )
        found = data_of(await client.call_tool("search_memories", {**IDS, "query": "violin"}))
        (hit,) = found["memories"]
        assert hit == {
            "id": stored["id"],
            "content": "She plays the violin.",
            "memory_type": "episodic",
            "created_at": stored["created_at"],
            "score": hit["score"],
        }
        one = {"agent_id": "a", "id": stored["id"]}
        change = {"importance": 2, "metadata": {"k": [1]}, "memory_type": "semantic"}
        changed = data_of(await client.call_tool("update_memory", {**one, **change}))
        assert changed == data_of(await client.call_tool("get_memory", one))
        assert changed.items() >= change.items()
        assert changed["user_id"] == "u"
        listed = data_of(await client.call_tool("list_memories", {"agent_id": "a"}))
        assert listed == {"memories": [changed], "left_out": 0}
        assert data_of(await client.call_tool("count_memories", IDS)) == {"count": 1}
        assert data_of(await client.call_tool("delete_memory", one)) == {"deleted": stored["id"]}
        assert data_of(await client.call_tool("count_memories", {"agent_id": "a"})) == {"count": 0}


async def test_text_equals_the_structured_content(connect: Connect) -> None:
    async with connect() as client:
        await client.call_tool("store_memory", {**IDS, "content": "Grüße, 世界"})
        result = await client.call_tool("search_memories", {**IDS, "query": "世界"})
    assert json.loads(text(result)) == result.structured_content
    assert "世界" in text(result)


async def test_pages_skip_no_memory(connect: Connect) -> None:
    async with connect() as client:
        for n in range(7):
            await client.call_tool("store_memory", {**IDS, "content": f"{n} " + "word " * 60})
        shown, arguments = [], {**IDS, "limit": 3, "max_tokens": 250}
        while True:
            page = data_of(await client.call_tool("list_memories", arguments))
            assert 0 < len(page["memories"]) < 3
            shown += [memory["content"][0] for memory in page["memories"]]
            if "next_cursor" not in page:
                break
            arguments["cursor"] = page["next_cursor"]
    assert shown == list("6543210")


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search_memories", {"agent_id": "a"}, "user_id: is missing; query: is missing"),
        ("search_memories", {**IDS, "query": ""}, "query: String should have at least 1"),
        (
            "search_memories",
            {**IDS, "query": "q", "top_k": "three"},
            "top_k: Input should be a valid",
        ),
        ("search_memories", {**IDS, "query": "q", "k": 3}, "k: is unknown; did you mean top_k?"),
        (
            "search_memories",
            {**IDS, "query": "x", "metadata": {"day": {"gte": 2}}},
            'metadata: day.gte: "gte" is not an operator; the nearest is "$gte"',
        ),
        ("search_memories", {**IDS, "query": "\ud800"}, "arguments: cannot be written as JSON"),
        ("store_memory", {**IDS, "content": "x" * 8_001}, "content: String should have at most"),
        ("store_memory", {**IDS, "content": "a\x00"}, "content: must not contain the NUL"),
        ("store_memory", {**IDS, "content": "x", "memory_type": "odd"}, "memory_type: Input"),
        ("store_memory", {**IDS, "content": "x", "importance": 3}, "importance: Input should be"),
        ("store_memory", {**IDS, "content": "x", "metadata": {"a": "b" * 17_000}}, "metadata: is"),
        ("get_memory", {"agent_id": "a", "id": "7"}, "id: Input should be a valid UUID"),
        ("get_memory", {"agent_id": "a", "id": NOWHERE}, "Take an id from search_memories"),
        ("list_memories", {"agent_id": "a", "cursor": "?"}, "cursor: is not a cursor"),
        ("list_memories", {"agent_id": "a", "cursor": "?" * 129}, "cursor: String should have"),
        ("list_memories", {"agent_id": "a", "user_id": ""}, "user_id: String should have at least"),
        ("search_memories", {**IDS, "query": "q", "created_after": "now"}, "created_after: must"),
        ("search_memories", {**IDS, "query": "q", "metadata": []}, "metadata: Input should be an"),
        (
            "update_memory",
            {"agent_id": "a", "id": NOWHERE, "content": ""},
            "content: String should",
        ),
        ("update_memory", {"agent_id": "a", "id": NOWHERE, "importance": 3}, "importance: Input"),
        ("store_memory", {**IDS, "content": "x", "y" * 500: 1}, "y" * 80 + ": is unknown; did you"),
        ("list_memories", {"agent_id": "a", "limit": 201}, "limit: Input should be less"),
        ("update_memory", {"agent_id": "a", "id": NOWHERE}, "arguments: name at least one"),
        (
            "update_memory",
            {"agent_id": "a", "id": NOWHERE, "importance": 1},
            "no memory 00000000-0000-7000-8000-000000000000",
        ),
        ("delete_memory", {"agent_id": "a", "id": NOWHERE}, "no memory"),
        ("count_memories", {"agent_id": ""}, "agent_id: String should have at least 1"),
    ],
)
async def test_errors_name_the_argument_and_the_reason(
    connect: Connect, store: InMemoryStore, tool: str, arguments: dict[str, Any], message: str
) -> None:
    async with connect() as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None
    assert message in text(result)
    for inner in ("pydantic", "function-", "none", "null"):
        assert inner not in text(result)
    assert await store.memories.count("a", None) == 0


async def test_optional_arguments_may_be_null(connect: Connect) -> None:
    async with connect() as client:
        nulls = dict.fromkeys(["memory_type", "metadata", "created_after", "created_before"])
        data_of(await client.call_tool("search_memories", {**IDS, "query": "q", **nulls}))
        nulls = dict.fromkeys(["user_id", "memory_type", "cursor"])
        data_of(await client.call_tool("list_memories", {"agent_id": "a", **nulls}))


async def test_paging_continues_after_oversized_memories(connect: Connect) -> None:
    async with connect() as client:
        for n in range(6):
            words = "word " * (900 if n % 2 else 5)
            await client.call_tool("store_memory", {**IDS, "content": f"{n} {words}"})
        shown, named, arguments = [], 0, {**IDS, "limit": 4, "max_tokens": 500}
        while True:
            page = data_of(await client.call_tool("list_memories", arguments))
            shown += [memory["content"][0] for memory in page["memories"]]
            named += "alone takes about" in page.get("note", "")
            if "next_cursor" not in page:
                break
            arguments["cursor"] = page["next_cursor"]
    assert (shown, named) == (list("420"), 3)


async def test_failed_write_reports_an_unknown_outcome(
    connect: Connect, store: InMemoryStore
) -> None:
    store.rows.down = True
    async with connect() as client:
        failed = await client.call_tool("store_memory", {**IDS, "content": "c"})
    assert "It may or may not have been stored" in text(failed)


async def test_operator_errors_are_hidden_from_callers(
    connect: Connect, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mismatch(_identity: ModelIdentity) -> int:
        raise ModelMismatch("set MEMEX_EMBEDDING_MODEL")

    monkeypatch.setattr(store.rows, "adopt_generation", mismatch)
    async with connect() as client:
        failed = await client.call_tool("search_memories", {**IDS, "query": "q"})
    assert failed.is_error
    assert "MEMEX" not in text(failed)


async def test_unknown_tool_is_named(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError, match="unknown tool 'remember'; known: store_memory"):
            await client.call_tool("remember", {})


async def test_failure_is_not_reported_as_an_empty_result(
    connect: Connect, store: InMemoryStore, embedder: FakeEmbedder
) -> None:
    async with connect() as client:
        search = {**IDS, "query": "q"}
        empty = data_of(await client.call_tool("search_memories", search))
        assert empty["memories"] == []
        assert empty["note"].startswith("Nothing related to this is stored.")
        embedder.down = True
        failed = await client.call_tool("search_memories", search)
        assert failed.is_error
        assert "the embedder is not available" in text(failed)
        assert "not an empty memory" in text(failed)
        store.rows.down = True
        failed = await client.call_tool("list_memories", {"agent_id": "a"})
        assert "not an empty memory" in text(failed)


async def test_fault_is_logged_and_hidden_from_callers(
    connect: Connect,
    service: MemoryService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object) -> int:
        raise RuntimeError("SELECT secret FROM password")

    monkeypatch.setattr(service, "count", broken)
    async with connect() as client:
        failed = await client.call_tool("count_memories", IDS)
    assert failed.is_error
    assert "has been logged" in text(failed)
    (record,) = [entry for entry in caplog.records if "count_memories" in entry.message]
    assert record.name.startswith("ray.serve")  # Serve writes only these loggers to its files
    assert "secret" not in text(failed)


@pytest.mark.parametrize("limits", [(1, 1)])
async def test_rate_limits_apply_as_in_rest(connect: Connect, metrics: RecordedMetrics) -> None:
    async with connect() as client:
        for tool, fields in (
            ("store_memory", {"content": "c"}),
            ("search_memories", {"query": "q"}),
        ):
            data_of(await client.call_tool(tool, {**IDS, **fields}))
            refused = await client.call_tool(tool, {**IDS, **fields})
            assert refused.is_error
            assert "agent 'a' has reached the" in text(refused)
            assert "the next is possible in" in text(refused)
    assert metrics.limited == ["write", "search"]


def test_nan_is_refused_instead_of_read_as_null() -> None:
    arguments = {**IDS, "content": "x", "metadata": {"a": float("nan")}}
    with pytest.raises(ValidationError, match="not finite"):
        TOOLS["store_memory"].read(arguments, FixedScope())


async def test_calls_are_counted_by_tool_and_outcome(
    connect: Connect, metrics: RecordedMetrics
) -> None:
    async with connect() as client:
        await client.call_tool("count_memories", {"agent_id": "a"})
        await client.call_tool("get_memory", {"agent_id": "a", "id": NOWHERE})
        with pytest.raises(MCPError):
            await client.call_tool("whatever_is_asked", {})
    assert metrics.tools == [("count_memories", False), ("get_memory", True)]
