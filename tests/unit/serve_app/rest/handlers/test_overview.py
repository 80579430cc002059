"""Agents, users and timelines over REST, and the filters of the memory listing."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from serve_app.rest.asgi import build_rest_app
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import in_memory_store
from tests.support.recorded import RecordedMetrics
from tests.support.rest_calls import assert_problem


async def add(client: httpx2.AsyncClient, agent: str, user: str, **fields: Any) -> None:
    body = {"agent_id": agent, "user_id": user, "content": "x", **fields}
    assert (await client.post("/v1/memories", json=body)).status_code == 201


async def test_agents_are_listed_in_pages(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/agents")).json() == {"agents": [], "next_after": None}
    for agent in ("a", "b", "b", "c"):
        await add(client, agent, "u")
    first = (await client.get("/v1/agents", params={"limit": "2"})).json()
    assert first == {
        "agents": [
            {"agent_id": "a", "memories": 1, "is_exact": True},
            {"agent_id": "b", "memories": 2, "is_exact": True},
        ],
        "next_after": "b",
    }
    second = (await client.get("/v1/agents", params={"limit": "2", "after": "b"})).json()
    assert [agent["agent_id"] for agent in second["agents"]] == ["c"]
    assert second["next_after"] is None


@pytest.mark.parametrize("agent", ["a", "a/b", "a/users", "/", "ü ?#%", "a%2Fb", "<b>"])
async def test_users_are_listed_for_any_agent_name(
    client: httpx2.AsyncClient, metrics: RecordedMetrics, agent: str
) -> None:
    await add(client, agent, "ana")
    await add(client, agent, "ben")
    await add(client, agent + "x", "other")
    answer = await client.get(f"/v1/agents/{quote(agent, safe='')}/users")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "agent_id": agent,
        "users": [
            {"user_id": "ana", "memories": 1, "is_exact": True},
            {"user_id": "ben", "memories": 1, "is_exact": True},
        ],
        "next_after": None,
    }
    assert metrics.answers[-1] == ("GET", "/v1/agents/{agent_id}/users", 200)


async def test_listing_agents_can_be_disabled() -> None:
    async def no_metrics() -> str:
        return ""

    service = MemoryService(FakeEmbedder(), in_memory_store(), lists_agents=False)
    app = build_rest_app(service, RecordedMetrics(), no_metrics, (), "1")
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        problem = assert_problem(await client.get("/v1/agents"), 403)
        assert "MEMEX_LIST_AGENTS" in problem["detail"]
        assert (await client.get("/v1/agents/a/users")).status_code == 200


async def test_timeline_counts_memories_by_day_and_type(client: httpx2.AsyncClient) -> None:
    today = datetime.now(UTC)
    for days, memory_type in ((0, "semantic"), (0, "semantic"), (1, "episodic"), (40, "episodic")):
        created_at = (today - timedelta(days=days)).isoformat()
        await add(client, "a", "u", created_at=created_at, memory_type=memory_type)
    await add(client, "a", "other")
    answer = await client.get("/v1/memories/timeline", params={"agent_id": "a", "user_id": "u"})
    assert answer.status_code == 200
    day = [str(today.date() - timedelta(days=n)) for n in range(41)]
    assert answer.json() == {
        "agent_id": "a",
        "user_id": "u",
        "since": day[29],
        "days": [
            {"day": day[1], "episodic": 1, "semantic": 0, "procedural": 0, "is_exact": True},
            {"day": day[0], "episodic": 0, "semantic": 2, "procedural": 0, "is_exact": True},
        ],
    }
    wide = await client.get("/v1/memories/timeline", params={"agent_id": "a", "days": "41"})
    assert wide.json()["since"] == day[40]
    assert [entry["day"] for entry in wide.json()["days"]] == [day[40], day[1], day[0]]
    assert wide.json()["days"][-1]["episodic"] == 1


async def test_memory_listing_is_filtered(client: httpx2.AsyncClient) -> None:
    for n in range(4):
        created_at = f"2024-01-0{n + 1}T00:00:00Z"
        await add(client, "a", "u", created_at=created_at, metadata={"n": n, "even": n % 2 == 0})
    for params, expected in (
        ({"metadata": '{"even": true}'}, [2, 0]),
        ({"metadata": "{}"}, [3, 2, 1, 0]),
        ({"metadata": '{"n": {"$gte": 1, "$ne": 2}}'}, [3, 1]),
        ({"created_after": "2024-01-02T00:00:00Z"}, [3, 2, 1]),
        ({"created_before": "2024-01-02T01:00:00+01:00"}, [0]),
        ({"created_after": "2024-01-01T00:00:00.000001Z", "metadata": '{"even": true}'}, [2]),
    ):
        answer = await client.get("/v1/memories", params={"agent_id": "a", **params})
        assert answer.status_code == 200, answer.text
        found = [memory["metadata"]["n"] for memory in answer.json()["memories"]]
        assert found == expected, params


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/v1/agents?limit=0", "limit"),
        ("/v1/agents?limit=201", "limit"),
        ("/v1/agents?after=", "after"),
        ("/v1/agents?agent_id=a", "agent_id"),
        ("/v1/agents//users", "agent_id"),
        (f"/v1/agents/{'x' * 129}/users", "agent_id"),
        ("/v1/agents/a%00/users", "agent_id"),
        ("/v1/agents/a/users?limit=x", "limit"),
        ("/v1/memories/timeline", "agent_id"),
        ("/v1/memories/timeline?agent_id=a&days=0", "days"),
        ("/v1/memories/timeline?agent_id=a&days=367", "days"),
        ("/v1/memories?agent_id=a&metadata=x", "metadata"),
        ("/v1/memories?agent_id=a&metadata=[]", "metadata"),
        ('/v1/memories?agent_id=a&metadata={"a":{"$foo":1}}', "metadata"),
        ('/v1/memories?agent_id=a&metadata={"a":NaN}', "metadata"),
        ('/v1/memories?agent_id=a&metadata={"a":"\\ud800"}', "metadata"),
        (f"/v1/memories?agent_id=a&metadata={'[' * 3000}", "metadata"),
        ("/v1/memories?agent_id=a&created_after=2024", "created_after"),
        ("/v1/memories?agent_id=a&created_before=2024-01-01", "created_before"),
    ],
)
async def test_errors_name_the_bad_parameter(
    client: httpx2.AsyncClient, url: str, field: str
) -> None:
    problem = assert_problem(await client.get(url), 422)
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_openapi_describes_the_encoded_path(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    users = document["paths"]["/v1/agents/{agent_id}/users"]["get"]
    assert [(p["name"], p["in"]) for p in users["parameters"]] == [
        ("agent_id", "path"),
        ("limit", "query"),
        ("after", "query"),
    ]
    assert "403" in document["paths"]["/v1/agents"]["get"]["responses"]
    listing = document["paths"]["/v1/memories"]["get"]["parameters"]
    (metadata,) = [p for p in listing if p["name"] == "metadata"]
    assert "application/json" in str(metadata["schema"])
