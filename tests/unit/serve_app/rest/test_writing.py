"""Storing, changing and deleting memories."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.fakes.store import InMemoryStore
from tests.support.rest_calls import FUTURE, MEMORY, add, assert_problem


async def test_post_returns_the_whole_memory(client: httpx2.AsyncClient) -> None:
    before = datetime.now(UTC)
    memory = await add(client)
    assert UUID(memory["id"]).version == 7
    assert before <= datetime.fromisoformat(memory["created_at"]) <= datetime.now(UTC)
    assert memory | MEMORY == memory
    assert (memory["importance"], memory["memory_type"], memory["metadata"], memory["score"]) == (
        1.0, "episodic", {}, None,
    )  # fmt: skip


async def test_post_stores_every_field(client: httpx2.AsyncClient) -> None:
    fields = {
        "importance": 2,
        "memory_type": "procedural",
        "metadata": {"a": [1, {"b": "ü"}]},
        "created_at": "2020-02-29T12:00:00.123456+02:00",
    }
    memory = await add(client, **fields)
    assert memory["importance"] == 2.0
    assert memory["memory_type"] == "procedural"
    assert memory["metadata"] == fields["metadata"]
    assert datetime.fromisoformat(memory["created_at"]) == datetime(
        2020, 2, 29, 10, 0, 0, 123_456, UTC
    )


async def test_batch_keeps_the_order(client: httpx2.AsyncClient) -> None:
    entries = [{**MEMORY, "content": f"m {n}", "agent_id": f"a{n % 3}"} for n in range(256)]
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    assert answer.status_code == 201
    assert [memory["content"] for memory in answer.json()["memories"]] == [
        f"m {n}" for n in range(256)
    ]


async def test_batch_with_a_bad_entry_stores_none(
    client: httpx2.AsyncClient, store: InMemoryStore
) -> None:
    entries = [MEMORY, {**MEMORY, "content": ""}, {**MEMORY, "importance": 3}]
    problem = assert_problem(
        await client.post("/v1/memories/batch", json={"memories": entries}), 422
    )
    assert [error["field"] for error in problem["errors"]] == [
        "memories[1].content",
        "memories[2].importance",
    ]
    assert await store.memories.count("a", None) == 0


@pytest.mark.parametrize("size", [0, 257])
async def test_batch_size_is_limited(client: httpx2.AsyncClient, size: int) -> None:
    answer = await client.post("/v1/memories/batch", json={"memories": [MEMORY] * size})
    assert_problem(answer, 422)


async def test_memory_is_read_changed_and_deleted(client: httpx2.AsyncClient) -> None:
    memory = await add(client)
    url, owner = f"/v1/memories/{memory['id']}", {"agent_id": "a"}
    assert (await client.get(url, params=owner)).json() == memory
    patched = await client.patch(url, params=owner, json={"content": "new", "metadata": {"x": 1}})
    assert patched.status_code == 200
    assert patched.json() | {"content": "new", "metadata": {"x": 1}} == patched.json()
    deleted = await client.delete(url, params=owner)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_problem(await client.get(url, params=owner), 404)


@pytest.mark.parametrize(
    "body", [{}, {"content": None}, {"agent_id": "b"}, {"content": ""}, {"user_id": "x"}]
)
async def test_invalid_patches_are_refused(
    client: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    memory = await add(client)
    answer = await client.patch(f"/v1/memories/{memory['id']}", params={"agent_id": "a"}, json=body)
    assert_problem(answer, 422)


async def test_memory_can_have_an_expiry(client: httpx2.AsyncClient) -> None:
    now = datetime.now(UTC)
    timed = await add(client, ttl_seconds=3_600)
    ends = datetime.fromisoformat(timed["expires_at"])
    assert timedelta(0) <= ends - now - timedelta(hours=1) < timedelta(minutes=1)
    dated = await add(client, expires_at=FUTURE)
    assert datetime.fromisoformat(dated["expires_at"]) == datetime.fromisoformat(FUTURE)
    url, owner = f"/v1/memories/{dated['id']}", {"agent_id": "a"}

    async def patch_expiry(**fields: Any) -> str | None:
        answer = await client.patch(url, params=owner, json=fields)
        assert answer.status_code == 200, answer.text
        ends: str | None = answer.json()["expires_at"]
        return ends

    assert await patch_expiry(importance=1.5) == dated["expires_at"]
    soon = await patch_expiry(ttl_seconds=60)
    assert soon is not None
    assert datetime.fromisoformat(soon) < datetime.fromisoformat(FUTURE)
    assert await patch_expiry(expires_at=None) is None
    assert (await add(client))["expires_at"] is None
    both = {"expires_at": FUTURE, "ttl_seconds": 5}
    for answer in (
        await client.patch(url, params=owner, json=both),
        await client.post("/v1/memories", json={**MEMORY, **both}),
    ):
        assert "give either expires_at or ttl_seconds" in assert_problem(answer, 422)["detail"]


@pytest.mark.parametrize(
    "params", [{}, {"agent_id": "a"}, {"user_id": "u"}, {"agent_id": "", "user_id": "u"}]
)
async def test_forget_requires_agent_and_user(
    client: httpx2.AsyncClient, params: dict[str, str]
) -> None:
    await add(client)
    assert_problem(await client.delete("/v1/memories", params=params), 422)
    assert (await client.get("/v1/memories/count", params={"agent_id": "a"})).json()["count"] == 1
