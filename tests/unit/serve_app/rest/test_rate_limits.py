"""Rate limits in headers and in answers of 429."""

import base64
import json
from typing import Any

import httpx2
import pytest

from serve_app.web.jsonl import MEDIA_TYPE
from tests.support.rest_calls import MEMORY, SEARCH, add, assert_problem

OWNER = {"agent_id": "a"}


def limits_of(answer: httpx2.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")


def item(name: str, first: str, agent: str = "a") -> str:
    return f'"{name}";{first};pk=:{base64.b64encode(agent.encode()).decode()}:'


@pytest.mark.parametrize("limits", [(60, 120)])
async def test_answers_of_limited_routes_say_what_is_left(client: httpx2.AsyncClient) -> None:
    first = await client.post("/v1/memories", json=MEMORY)
    url = f"/v1/memories/{first.json()['id']}"
    line = {"id": "018f0000-0000-7000-8000-000000000000", "user_id": "u", "content": "c"}
    writes = [
        first,
        await client.post("/v1/memories/batch", json={"memories": [MEMORY, MEMORY]}),
        await client.patch(url, params=OWNER, json={"importance": 0.5}),
        await client.post(
            "/v1/memories/import",
            params=OWNER,
            content=json.dumps(line),
            headers={"content-type": MEDIA_TYPE},
        ),
        await client.post("/v1/memories", json=MEMORY, headers={"Idempotency-Key": "k"}),
    ]
    for remaining, answer in zip(range(59, 54, -1), writes, strict=True):
        assert answer.is_success
        policy, left = limits_of(answer)
        assert policy == item("write", "q=60;w=60")
        assert left in [item("write", f"r={remaining};t={reset_s}") for reset_s in (59, 60)]
    policy, left = limits_of(await client.post("/v1/memories/search", json=SEARCH))
    assert policy == item("search", "q=120;w=60")
    assert left == item("search", "r=119;t=60")
    for free in (
        await client.get(url, params=OWNER),
        await client.delete(url, params=OWNER),
        await client.get("/v1/memories", params=OWNER),
    ):
        assert limits_of(free) == (None, None)


@pytest.mark.parametrize("limits", [(60, 0)])
async def test_batch_of_several_agents_names_the_one_with_the_fewest_calls_left(
    client: httpx2.AsyncClient,
) -> None:
    await add(client, agent_id="ünïcode agent")
    entries = [{**MEMORY, "agent_id": agent} for agent in ("a", "ünïcode agent", "b")]
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    policy, left = limits_of(answer)
    assert policy == item("write", "q=60;w=60", "ünïcode agent")
    assert left == item("write", "r=58;t=60", "ünïcode agent")


async def test_no_headers_without_limits(client: httpx2.AsyncClient) -> None:
    for path, body in (("/v1/memories", MEMORY), ("/v1/memories/search", SEARCH)):
        assert limits_of(await client.post(path, json=body)) == (None, None)


@pytest.mark.parametrize("limits", [(1, 1)])
@pytest.mark.parametrize(
    ("name", "path", "body"),
    [("write", "/v1/memories", MEMORY), ("search", "/v1/memories/search", SEARCH)],
)
async def test_429_names_the_limit(
    client: httpx2.AsyncClient, name: str, path: str, body: dict[str, Any]
) -> None:
    last = await client.post(path, json=body)
    assert limits_of(last)[1] == item(name, "r=0;t=60")
    for _ in range(2):  # refused by the store, then by what the replica remembers
        refused = await client.post(path, json=body)
        problem = assert_problem(refused, 429)
        assert problem["type"].endswith("#quota-exceeded")
        assert problem["violated-policies"] == [name]
        retry_after_s = problem["rate_limit"].pop("retry_after_s")
        assert 55 < retry_after_s <= 60
        assert problem["rate_limit"] == {
            "policy": name, "agent_id": "a", "quota": 1, "window_s": 60,
        }  # fmt: skip
        assert (
            f"agent 'a' has reached the {name} limit, 1 {name} calls in any 60 s"
            in problem["detail"]
        )
        assert f"in {retry_after_s:.1f} s" in problem["detail"]
        policy, left = limits_of(refused)
        assert policy == item(name, "q=1;w=60")
        assert left == item(name, f"r=0;t={refused.headers['retry-after']}")


async def test_other_problems_have_no_limit(client: httpx2.AsyncClient) -> None:
    problem = assert_problem(await client.post("/v1/memories", json={}), 422)
    assert problem.keys() == {"type", "title", "status", "detail", "errors"}
