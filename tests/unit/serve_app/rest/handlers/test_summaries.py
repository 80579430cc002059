"""Summaries over REST, with in-memory nodes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from deployments.domain.summaries import PassReport
from deployments.summariser.settings import SummarizationSettings
from serve_app.rest.asgi import build_rest_app
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.recorded import RecordedMetrics
from tests.support.summaries import passes_over

OWNER = {"agent_id": "a"}


class Summariser:
    """The Summariser port over passes in this process."""

    def __init__(self, store: InMemoryStore) -> None:
        settings = SummarizationSettings(threshold=3, batch_size=2)
        self._passes = passes_over(store, settings)

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        return await self._passes.run(agent_id, user_id, budget_s)


@pytest.fixture
async def client(store: InMemoryStore) -> AsyncIterator[httpx2.AsyncClient]:
    service = MemoryService(FakeEmbedder(), store, summariser=Summariser(store))

    async def exposition() -> str:
        return ""

    app = build_rest_app(service, RecordedMetrics(), exposition, (), "0")
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def add(client: httpx2.AsyncClient, count: int, agent: str = "a") -> list[dict[str, Any]]:
    stored = []
    for n in range(count):
        memory = {"agent_id": agent, "user_id": "u", "content": f"Fact {n} is about thing{n}."}
        answer = await client.post("/v1/memories", json=memory)
        assert answer.status_code == 201
        stored.append(answer.json())
    return stored


async def summarise(client: httpx2.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await client.post("/v1/summaries/run", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_summary_is_made_found_and_restored(client: httpx2.AsyncClient) -> None:
    memories = await add(client, 4)
    assert await summarise(client) == {
        "scopes": 1, "summaries": 1, "memories": 2, "failed": 0, "is_complete": True,
    }  # fmt: skip
    query = {"agent_id": "a", "user_id": "u"}
    listed = (await client.get("/v1/memories", params=query)).json()["memories"]
    assert len(listed) == 3
    (summary,) = [memory for memory in listed if "summary" in memory["metadata"]]
    everything = {**query, "include_superseded": "true"}
    assert len((await client.get("/v1/memories", params=everything)).json()["memories"]) == 5
    assert (await client.get("/v1/memories/count", params=query)).json()["count"] == 3
    assert (await client.get("/v1/memories/count", params=everything)).json()["count"] == 5
    search: dict[str, Any] = {**query, "query": "Fact 0 is about thing0."}
    found = (await client.post("/v1/memories/search", json=search)).json()["results"]
    assert memories[0]["id"] not in [hit["id"] for hit in found]
    search |= {"include_superseded": True}
    found = (await client.post("/v1/memories/search", json=search)).json()["results"]
    assert found[0]["id"] == memories[0]["id"]
    assert found[0]["superseded_by"] == summary["id"]

    url = f"/v1/memories/{summary['id']}"
    sources = (await client.get(f"{url}/sources", params=OWNER)).json()["memories"]
    assert [source["id"] for source in sources] == [memory["id"] for memory in memories[:2]]
    restored = (await client.post(f"{url}/restore", params=OWNER)).json()["memories"]
    assert restored == memories[:2]
    assert (await client.get(url, params=OWNER)).status_code == 404
    assert (await summarise(client))["summaries"] == 0


async def test_deleting_a_source_deletes_its_summary(client: httpx2.AsyncClient) -> None:
    memories = await add(client, 4)
    await summarise(client)
    url = f"/v1/memories/{memories[0]['id']}"
    answer = await client.patch(url, params=OWNER, json={"importance": 2})
    assert answer.status_code == 409
    summary_id = (await client.get(url, params=OWNER)).json()["superseded_by"]
    assert summary_id in answer.json()["detail"]
    assert (await client.delete(url, params=OWNER)).status_code == 204
    assert (await client.get(f"/v1/memories/{summary_id}", params=OWNER)).status_code == 404


async def test_other_agents_cannot_reach_a_summary(client: httpx2.AsyncClient) -> None:
    await add(client, 4)
    await summarise(client)
    listed = (await client.get("/v1/memories", params=OWNER)).json()["memories"]
    (summary,) = [memory for memory in listed if "summary" in memory["metadata"]]
    url, other = f"/v1/memories/{summary['id']}", {"agent_id": "b"}
    assert (await client.get(f"{url}/sources", params=other)).status_code == 404
    assert (await client.post(f"{url}/restore", params=other)).status_code == 404
    assert (await client.get(f"{url}/sources", params=OWNER)).status_code == 200


async def test_plain_memory_has_no_sources_and_cannot_be_restored(
    client: httpx2.AsyncClient,
) -> None:
    (memory,) = await add(client, 1)
    url = f"/v1/memories/{memory['id']}"
    assert (await client.get(f"{url}/sources", params=OWNER)).json() == {"memories": []}
    answer = await client.post(f"{url}/restore", params=OWNER)
    assert answer.status_code == 409
    assert "no sources" in answer.json()["detail"]
    missing = "/v1/memories/01900000-0000-7000-8000-000000000000"
    assert (await client.get(f"{missing}/sources", params=OWNER)).status_code == 404
    assert (await client.post(f"{missing}/restore", params=OWNER)).status_code == 404


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ({}, 2),
        ({"agent_id": "a"}, 1),
        ({"agent_id": "b", "user_id": "u"}, 1),
        ({"agent_id": "c"}, 0),
    ],
)
async def test_pass_can_be_limited_to_an_agent_or_user(
    client: httpx2.AsyncClient, query: dict[str, str], runs: int
) -> None:
    for agent in ("a", "b"):
        await add(client, 4, agent)
    assert (await summarise(client, **query))["summaries"] == runs


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"user_id": "u"}, ["user_id"]),
        ({"agent_id": ""}, ["agent_id"]),
        ({"agent_id": "", "user_id": "u"}, ["agent_id"]),
        ({"agent": "a"}, ["agent"]),
        ({"agent_id": "a", "user_id": ""}, ["user_id"]),
    ],
)
async def test_invalid_pass_parameters_are_refused(
    client: httpx2.AsyncClient, query: dict[str, str], fields: list[str]
) -> None:
    answer = await client.post("/v1/summaries/run", params=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == fields
