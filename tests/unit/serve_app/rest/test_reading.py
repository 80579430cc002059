"""Searching, listing and counting memories, and reading their history."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx2

from tests.support.rest_calls import SEARCH, add, assert_problem


async def test_search_ranks_by_similarity(client: httpx2.AsyncClient) -> None:
    await add(client, content="green tea")
    await add(client, content="blue sky")
    answer = await client.post("/v1/memories/search", json={**SEARCH, "query": "green tea"})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["query"], body["total"]) == ("green tea", 2)
    assert [hit["content"] for hit in body["results"]] == ["green tea", "blue sky"]
    assert body["results"][0]["score"] == 1.0


async def test_search_applies_every_parameter(client: httpx2.AsyncClient) -> None:
    await add(client, content="old", created_at="2020-01-01T00:00:00Z", metadata={"p": 1})
    await add(client, content="new", metadata={"p": 1}, memory_type="semantic")
    for fields, expected in (
        ({"top_k": 1, "alpha": 0}, ["new"]),
        ({"memory_type": "semantic"}, ["new"]),
        ({"metadata": {"p": 2}}, []),
        ({"metadata": {"p": {"$gte": 1}}, "memory_type": "semantic"}, ["new"]),
        ({"metadata": {"$or": [{"p": {"$gt": 1}}, {"q": 1}]}}, []),
        ({"created_before": "2021-01-01T00:00:00Z"}, ["old"]),
        ({"created_before": "2020-01-01T00:00:00Z"}, []),
        ({"created_after": "2021-01-01T00:00:00Z"}, ["new"]),
        ({"created_after": "2020-01-01T00:00:00Z"}, ["new", "old"]),
        ({"created_after": "2020-01-01T00:00:00Z", "created_before": "2020-01-01T00:00:00Z"}, []),
        ({"min_score": 0.9, "alpha": 0}, ["new"]),
        ({"as_of": "2020-01-31T00:00:00Z", "alpha": 0, "min_score": 0.49}, ["old"]),
        ({"half_life_days": 1e6, "alpha": 0, "min_score": 0.9}, ["new", "old"]),
        ({"importance_weight": 1, "min_score": 1.2, "alpha": 0}, ["new"]),
        ({"memory_type": None, "metadata": None, "min_score": None}, ["new", "old"]),
        ({"query": "old", "mode": "lexical", "alpha": 1, "min_score": 1.0}, ["old"]),
        ({"query": "old", "mode": "semantic", "alpha": 1, "min_score": 0.999}, ["old"]),
        ({"query": "old and x", "lexical_weight": 10, "alpha": 1, "min_score": 0.9}, ["old"]),
        ({"query": "old and x", "lexical_weight": 0, "alpha": 1, "min_score": 0.9}, []),
        ({"query": "old", "fusion": "rrf", "alpha": 1, "min_score": 0.999}, ["old"]),
    ):
        answer = await client.post("/v1/memories/search", json={**SEARCH, **fields})
        assert answer.status_code == 200, answer.text
        assert {hit["content"] for hit in answer.json()["results"]} == set(expected), fields


async def test_search_as_of_an_earlier_time_returns_what_was_known_then(
    client: httpx2.AsyncClient,
) -> None:
    memory = await add(client, content="the meeting is in cedar", metadata={"room": 1})
    expiring = await add(client, content="lunch is in oak", ttl_seconds=1)
    deleted = await add(client, content="tea is in ash")
    then = {**SEARCH, "as_of": datetime.now(UTC).isoformat()}
    owner = {"agent_id": memory["agent_id"]}
    await client.patch(
        f"/v1/memories/{memory['id']}", params=owner, json={"content": "no more", "metadata": {}}
    )
    await client.delete(f"/v1/memories/{deleted['id']}", params=owner)
    await asyncio.sleep(1.05)
    found = (await client.post("/v1/memories/search", json=then)).json()["results"]
    known = {hit["content"]: hit["metadata"] for hit in found}
    assert known == {"the meeting is in cedar": {"room": 1}, "lunch is in oak": {}}
    found = (await client.post("/v1/memories/search", json=SEARCH)).json()["results"]
    assert [hit["content"] for hit in found] == ["no more"]
    url = f"/v1/memories/{expiring['id']}"
    assert (await client.get(url, params=owner)).status_code == 404
    assert (await client.delete(url, params=owner)).status_code == 204
    assert (await client.delete(url, params=owner)).status_code == 404
    found = (await client.post("/v1/memories/search", json=then)).json()["results"]
    assert [hit["content"] for hit in found] == ["the meeting is in cedar"]


async def test_results_are_explained_on_request(client: httpx2.AsyncClient) -> None:
    await add(client, content="green tea")
    for explain in (False, True):
        answer = await client.post("/v1/memories/search", json={**SEARCH, "explain": explain})
        (hit,) = answer.json()["results"]
        assert (hit["explanation"] is not None) == explain
    assert set(hit["explanation"]) >= {
        "cosine", "lexical", "similarity", "recency", "importance", "weights", "age_days",
        "matched_terms",
    }  # fmt: skip
    assert hit["explanation"]["matched_terms"] == ["tea"]


async def test_search_reports_whether_it_was_reranked(client: httpx2.AsyncClient) -> None:
    await add(client)
    answer = await client.post("/v1/memories/search", json=SEARCH)
    assert answer.json()["reranked"] is None


async def test_list_pages_in_order(client: httpx2.AsyncClient) -> None:
    for n in range(5):
        await add(client, content=f"m {n}", created_at=f"2024-01-0{n + 1}T00:00:00Z")
    contents, cursor = [], None
    while True:
        params = {"agent_id": "a", "user_id": "u", "limit": "2"} | (
            {"cursor": cursor} if cursor else {}
        )
        page = (await client.get("/v1/memories", params=params)).json()
        contents += [memory["content"] for memory in page["memories"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert contents == ["m 4", "m 3", "m 2", "m 1", "m 0"]


async def test_history_pages_in_order_within_the_agent(client: httpx2.AsyncClient) -> None:
    memory = await add(client)
    url, owner = f"/v1/memories/{memory['id']}", {"agent_id": "a"}
    for n in range(5):
        await client.patch(url, params=owner, json={"content": f"version {n + 2}"})
    contents: list[str] = []
    params: dict[str, Any] = {**owner, "limit": "2"}
    while True:
        page = (await client.get(f"{url}/history", params=params)).json()
        contents += [version["content"] for version in page["versions"]]
        if page["next_before"] is None:
            break
        params["before"] = page["next_before"]
    assert contents == ["version 5", "version 4", "version 3", "version 2", "likes green tea"]
    assert_problem(await client.get(f"{url}/history", params={"agent_id": "b"}), 404)
    assert_problem(await client.get(f"{url}/history", params={**owner, "before": "0"}), 422)


async def test_forget_deletes_one_users_memories(client: httpx2.AsyncClient) -> None:
    await add(client)
    await add(client, user_id="other")
    counted = await client.get("/v1/memories/count", params={"agent_id": "a", "user_id": "u"})
    assert counted.json() == {"agent_id": "a", "user_id": "u", "count": 1}
    deleted = await client.delete("/v1/memories", params={"agent_id": "a", "user_id": "u"})
    assert (deleted.status_code, deleted.json()) == (200, {"deleted": 1})
    counted = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert counted.json() == {"agent_id": "a", "user_id": None, "count": 1}


async def test_other_agents_cannot_read_or_change(client: httpx2.AsyncClient) -> None:
    memory = await add(client)
    url, other = f"/v1/memories/{memory['id']}", {"agent_id": "b"}
    for answer in (
        await client.get(url, params=other),
        await client.patch(url, params=other, json={"content": "x"}),
        await client.delete(url, params=other),
    ):
        problem = assert_problem(answer, 404)
        assert "likes green tea" not in json.dumps(problem)
    found = await client.post("/v1/memories/search", json={**SEARCH, "agent_id": "b"})
    assert found.json()["results"] == []
