"""Writes under an Idempotency-Key."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.support.fakes.embedder import FakeEmbedder
from tests.support.rest_calls import FUTURE, MEMORY, add, assert_problem

KEY = {"Idempotency-Key": "8f14e45f"}
OWNER = {"agent_id": "a"}
SCOPE = {"agent_id": "a", "user_id": "u"}


def soon(seconds: float = 0.2) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def url_of(memory: dict[str, Any]) -> str:
    return f"/v1/memories/{memory['id']}"


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/batch"])
async def test_write_under_a_key_is_made_once(client: httpx2.AsyncClient, path: str) -> None:
    body = {"memories": [MEMORY]} if path.endswith("batch") else MEMORY
    first = await client.post(path, json=body, headers=KEY)
    spaced = json.dumps(body, indent=2)
    again = await client.post(
        path, content=spaced, headers={**KEY, "content-type": "application/json"}
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers.get("etag") == first.headers.get("etag")
    other = json.loads(json.dumps(body).replace("green tea", "coffee"))
    problem = assert_problem(await client.post(path, json=other, headers=KEY), 422)
    assert "'8f14e45f' was used for another write" in problem["detail"]
    await client.post(path, json=body)
    count = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert count.json()["count"] == 2


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/batch"])
async def test_write_is_answered_as_the_first_time_after_its_memory_has_expired(
    client: httpx2.AsyncClient, embedder: FakeEmbedder, path: str
) -> None:
    entry = {**MEMORY, "expires_at": soon()}
    body = {"memories": [MEMORY, entry]} if path.endswith("batch") else entry
    first = await client.post(path, json=body, headers=KEY)
    assert first.status_code == 201
    await asyncio.sleep(0.3)
    embedder.down = True  # the first answer needs no embedding
    again = await client.post(path, json=body, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    unmade = await client.post(path, json=body, headers={"Idempotency-Key": "another"})
    field = "memories[1].expires_at" if path.endswith("batch") else "expires_at"
    assert assert_problem(unmade, 422)["errors"] == [{"field": field, "message": "is in the past"}]


@pytest.mark.parametrize("has_expired", [False, True])
async def test_write_is_answered_as_the_first_time_after_its_memory_is_gone(
    client: httpx2.AsyncClient, has_expired: bool
) -> None:
    body = {**MEMORY, "ttl_seconds": 3_600, "metadata": {"b": 1.0, "a": [2]}}
    first = await client.post("/v1/memories", json=body, headers=KEY)
    url = url_of(first.json())
    if has_expired:
        await client.patch(url, params=OWNER, json={"expires_at": soon(0.1)})
        await asyncio.sleep(0.2)
    else:
        await client.delete("/v1/memories", params=SCOPE)
    assert_problem(await client.get(url, params=OWNER), 404)
    again = await client.post("/v1/memories", json=body, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())


async def test_change_under_a_key_is_made_once(client: httpx2.AsyncClient) -> None:
    url = url_of(await add(client))
    body = {"content": "new", "importance": 1.5}
    first = await client.patch(url, params=OWNER, json=body, headers=KEY)
    await client.patch(url, params=OWNER, json={"importance": 0.5})
    again = await client.patch(url, params=OWNER, json=body, headers=KEY)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    assert (await client.get(url, params=OWNER)).json()["importance"] == 0.5
    for other in ({"importance": 0.5}, {**body, "expires_at": None}, {**body, "ttl_seconds": 9}):
        problem = await client.patch(url, params=OWNER, json=other, headers=KEY)
        assert_problem(problem, 422)


async def test_change_is_answered_as_the_first_time_after_its_memory_has_expired(
    client: httpx2.AsyncClient,
) -> None:
    url, body = url_of(await add(client)), {"expires_at": soon()}
    first = await client.patch(url, params=OWNER, json=body, headers=KEY)
    assert first.status_code == 200
    await asyncio.sleep(0.3)
    assert_problem(await client.get(url, params=OWNER), 404)
    again = await client.patch(url, params=OWNER, json=body, headers=KEY)
    assert (again.status_code, again.json()) == (200, first.json())
    unmade = await client.patch(
        url, params=OWNER, json=body, headers={"Idempotency-Key": "another"}
    )
    assert assert_problem(unmade, 422)["errors"][0]["field"] == "expires_at"


async def test_change_of_a_memory_that_was_deleted_since_is_answered_by_its_id(
    client: httpx2.AsyncClient,
) -> None:
    memory = await add(client)
    url, body = url_of(memory), {"importance": 0.5}
    await client.patch(url, params=OWNER, json=body, headers=KEY)
    await client.delete(url, params=OWNER)
    again = await client.patch(url, params=OWNER, json=body, headers=KEY)
    assert (again.status_code, again.json()) == (200, {"id": memory["id"], "deleted": True})
    assert "etag" not in again.headers


async def test_deletion_under_a_key_is_made_once(client: httpx2.AsyncClient) -> None:
    url = url_of(await add(client))
    for _ in range(2):
        answer = await client.delete(url, params=OWNER, headers=KEY)
        assert (answer.status_code, answer.content) == (204, b"")
    assert_problem(await client.delete(url, params=OWNER), 404)
    another = url_of(await add(client))
    assert_problem(await client.delete(another, params=OWNER, headers=KEY), 422)
    assert (await client.get(another, params=OWNER)).status_code == 200


async def test_forgetting_under_a_key_is_made_once(client: httpx2.AsyncClient) -> None:
    await add(client)
    for _ in range(2):
        answer = await client.delete("/v1/memories", params=SCOPE, headers=KEY)
        assert answer.json() == {"deleted": 1}
        await add(client)
    count = await client.get("/v1/memories/count", params=OWNER)
    assert count.json()["count"] == 2
    other = await client.delete("/v1/memories", params={**SCOPE, "user_id": "v"}, headers=KEY)
    assert_problem(other, 422)


async def test_key_and_condition_together(client: httpx2.AsyncClient) -> None:
    url = url_of(await add(client))
    etag = (await client.get(url, params=OWNER)).headers["etag"]
    body, stale = {"importance": 0.5}, {**KEY, "If-Match": '"stale"'}
    assert_problem(await client.patch(url, params=OWNER, json=body, headers=stale), 412)
    headers = {**KEY, "If-Match": etag}
    first = await client.patch(url, params=OWNER, json=body, headers=headers)
    again = await client.patch(url, params=OWNER, json=body, headers=headers)
    assert (first.status_code, again.json()) == (200, first.json())
    assert_problem(await client.patch(url, params=OWNER, json=body, headers=stale), 422)
    deleted = {"Idempotency-Key": "d", "If-Match": first.headers["etag"]}
    assert (await client.delete(url, params=OWNER, headers=deleted)).status_code == 204
    assert (await client.delete(url, params=OWNER, headers=deleted)).status_code == 204


async def test_key_belongs_to_one_route(client: httpx2.AsyncClient) -> None:
    memory = (await client.post("/v1/memories", json=MEMORY, headers=KEY)).json()
    for answer in (
        await client.post("/v1/memories/batch", json={"memories": [MEMORY]}, headers=KEY),
        await client.patch(url_of(memory), params=OWNER, json={"importance": 1}, headers=KEY),
        await client.delete(url_of(memory), params=OWNER, headers=KEY),
        await client.delete("/v1/memories", params=SCOPE, headers=KEY),
    ):
        assert "was used for another write" in assert_problem(answer, 422)["detail"]
    assert (await client.get(url_of(memory), params=OWNER)).json() == memory


@pytest.mark.parametrize("limits", [(1, 0)])
async def test_repetition_is_answered_although_the_limit_is_reached(
    client: httpx2.AsyncClient,
) -> None:
    first = await client.post("/v1/memories", json=MEMORY, headers=KEY)
    assert_problem(await client.post("/v1/memories", json=MEMORY), 429)
    again = await client.post("/v1/memories", json=MEMORY, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([""], "1 to 255 printable"),
        (["x" * 256], "1 to 255 printable"),
        (["é"], "1 to 255 printable"),
        (["a", "b"], "more than once"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_invalid_keys_are_refused(
    client: httpx2.AsyncClient, method: str, keys: list[str], message: str
) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1")) for key in keys]
    url = "/v1/memories" if method == "POST" else url_of(await add(client))
    body = {"POST": MEMORY, "PATCH": {"expires_at": FUTURE}, "DELETE": None}[method]
    params = {} if method == "POST" else OWNER
    answer = await client.request(method, url, params=params, json=body, headers=headers)
    assert message in assert_problem(answer, 422)["detail"]


async def test_keyed_batch_must_have_one_agent(client: httpx2.AsyncClient) -> None:
    both = {"memories": [MEMORY, {**MEMORY, "agent_id": "b"}]}
    answer = await client.post("/v1/memories/batch", json=both, headers=KEY)
    assert "all memories belong to one agent" in assert_problem(answer, 422)["detail"]
