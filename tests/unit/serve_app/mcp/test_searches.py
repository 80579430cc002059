"""What `search_memories` finds and leaves out."""

from typing import Any

from tests.support.mcp.calls import Connect, data_of

IDS = {"agent_id": "a", "user_id": "u"}


async def test_search_that_finds_nothing_related_says_so(connect: Connect) -> None:
    async with connect() as client:
        await client.call_tool("store_memory", {**IDS, "content": "She plays the violin."})
        search = {**IDS, "query": "lattice quantum chromodynamics"}
        nothing = data_of(await client.call_tool("search_memories", search))
        assert nothing == {
            "memories": [],
            "left_out": 0,
            "note": "Nothing related to this is stored. Memories that are less related than "
            "min_similarity=0.22 are left out: to see the nearest of them, search again with "
            "min_similarity 0; for the newest, call list_memories.",
        }
        nearest = await client.call_tool("search_memories", {**search, "min_similarity": 0})
        assert len(data_of(nearest)["memories"]) == 1


async def test_copies_are_one_answer(connect: Connect) -> None:
    async with connect() as client:
        for _ in range(12):
            await client.call_tool("store_memory", {**IDS, "content": "deploy on tuesday at nine"})
        await client.call_tool("store_memory", {**IDS, "content": "a deploy needs two approvals"})
        search = {**IDS, "query": "when to deploy on tuesday", "top_k": 5}
        found = data_of(await client.call_tool("search_memories", search))
    assert "a deploy needs two approvals" in [hit["content"] for hit in found["memories"]]


async def test_search_for_anything_in_an_empty_scope_finds_nothing(connect: Connect) -> None:
    async with connect() as client:
        search = {**IDS, "query": "violin", "min_similarity": 0}
        empty = data_of(await client.call_tool("search_memories", search))
    assert empty == {"memories": [], "left_out": 0, "note": "Nothing is stored that matches."}


async def test_filters_and_limits_apply(connect: Connect) -> None:
    async with connect() as client:
        for kind, day in (("episodic", 1), ("semantic", 2), ("procedural", 3)):
            fields = {"content": f"note of {kind}", "memory_type": kind, "metadata": {"day": day}}
            await client.call_tool("store_memory", {**IDS, **fields})

        async def contents(tool: str, **arguments: Any) -> list[str]:
            answer = data_of(await client.call_tool(tool, {**IDS, **arguments}))
            return [memory["content"] for memory in answer["memories"]]

        search = {"query": "note"}
        assert len(await contents("search_memories", **search)) == 3
        assert len(await contents("search_memories", **search, top_k=2)) == 2
        assert await contents("search_memories", **search, memory_type="semantic") == [
            "note of semantic"
        ]
        assert await contents("search_memories", **search, metadata={"day": 3}) == [
            "note of procedural"
        ]
        assert await contents("search_memories", **search, metadata={"day": {"$lt": 2}}) == [
            "note of episodic"
        ]
        past = "2020-01-01T00:00:00Z"
        assert await contents("search_memories", **search, created_before=past) == []
        assert len(await contents("search_memories", **search, created_after=past)) == 3
        empty = {"created_after": past, "created_before": past}
        assert await contents("search_memories", **search, **empty) == []
        assert await contents("list_memories", memory_type="episodic") == ["note of episodic"]
