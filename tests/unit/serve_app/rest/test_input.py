"""Invalid requests: fields, bodies, query strings."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.support.rest_calls import FUTURE, MEMORY, SEARCH, add, assert_problem


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"agent_id": ""}, "agent_id"),
        ({"agent_id": "x" * 129}, "agent_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"content": ""}, "content"),
        ({"content": "x" * 8_001}, "content"),
        ({"content": "a\x00b"}, "content"),
        ({"agent_id": "a\x00"}, "agent_id"),
        ({"importance": -0.1}, "importance"),
        ({"importance": 2.1}, "importance"),
        ({"importance": "1"}, "importance"),
        ({"importance": True}, "importance"),
        ({"memory_type": "other"}, "memory_type"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x": "a\x00"}}, "metadata"),
        ({"metadata": {"a\x00": 1}}, "metadata"),
        ({"metadata": {"x": "y" * 16_384}}, "metadata"),
        ({"created_at": FUTURE}, "created_at"),
        ({"created_at": "2024-01-01T00:00:00"}, "created_at"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": 1_700_000_000}, "created_at"),
        ({"created_at": "1700000000"}, "created_at"),
        ({"created_at": "2024-01-01T00:00Z"}, "created_at"),
        ({"created_at": "2024-01-01_00:00:00Z"}, "created_at"),
        ({"importance": 5e-324}, "importance"),
        ({"metadata": {"n": [1e308] * 60}}, "metadata"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        ({"expires_at": "2024-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2124-01-01T00:00:00"}, "expires_at"),
        ({"metadata": json.loads('{"a":' * 65 + "1" + "}" * 65)}, "metadata"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 1.5}, "ttl_seconds"),
        ({"ttl_seconds": 10**12}, "ttl_seconds"),
        ({"unknown": 1}, "unknown"),
        ({"score": 1}, "score"),
        ({"id": str(uuid4())}, "id"),
    ],
)
async def test_errors_name_the_bad_field(
    client: httpx2.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    problem = assert_problem(await client.post("/v1/memories", json={**MEMORY, **fields}), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert field in problem["detail"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": "x" * 8_001}, "query"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 51}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"alpha": 1.01}, "alpha"),
        ({"alpha": 5e-324}, "alpha"),
        ({"half_life_days": 0}, "half_life_days"),
        ({"importance_weight": 2}, "importance_weight"),
        ({"min_score": "high"}, "min_score"),
        ({"min_similarity": -0.1}, "min_similarity"),
        ({"min_similarity": 1.1}, "min_similarity"),
        ({"diversity": 1.1}, "diversity"),
        ({"diversity": "high"}, "diversity"),
        ({"mode": "keyword"}, "mode"),
        ({"fusion": "sum"}, "fusion"),
        ({"lexical_weight": -0.1}, "lexical_weight"),
        ({"lexical_weight": 10.1}, "lexical_weight"),
        ({"lexical_weight": 1e-300}, "lexical_weight"),
        # Without effect
        ({"lexical_weight": 1, "mode": "semantic"}, "lexical_weight"),
        ({"lexical_weight": 1, "mode": "lexical"}, "lexical_weight"),
        ({"lexical_weight": 1, "fusion": "rrf"}, "lexical_weight"),
        ({"fusion": "rrf", "mode": "semantic"}, "fusion"),
        ({"fusion": "rrf", "mode": "lexical"}, "fusion"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "{}"}, "metadata"),
        ({"metadata": {"x": "a\x00"}}, "metadata"),
        ({"metadata": {"x": "y" * 16_384}}, "metadata"),
        ({"metadata": json.loads('{"a":' * 65 + "1" + "}" * 65)}, "metadata"),
        ({"metadata": {"x": {"$in": list(range(300))}}}, "metadata"),
        ({"explain": "yes"}, "explain"),
        ({"created_after": "2024-13-01T00:00:00Z"}, "created_after"),
        (
            {"created_after": "2024-13-01T00:00:00Z", "created_before": "2024-01-01T00:00:00Z"},
            "created_after",
        ),
    ],
)
async def test_errors_name_the_bad_search_field(
    client: httpx2.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/memories/search", json={**SEARCH, **fields})
    problem = assert_problem(answer, 422)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"priority": {"gte": 5}}, 'priority.gte: "gte" is not an operator; the nearest is "$gte"'),
        ({"tags": {"in": ["red"]}}, 'tags.in: "in" is not an operator; the nearest is "$in"'),
        ({"OR": [{"priority": 7}]}, 'OR: "OR" is not an operator; the nearest is "$or"'),
        ({"name": {"$regex": "x"}}, 'name.$regex: "$regex" is not an operator; there are $eq, '),
    ],
)
async def test_filters_that_cannot_work_are_refused_with_the_place(
    client: httpx2.AsyncClient, value: dict[str, Any], words: str
) -> None:
    search = await client.post("/v1/memories/search", json={**SEARCH, "metadata": value})
    listing = await client.get(
        "/v1/memories", params={"agent_id": "a", "metadata": json.dumps(value)}
    )
    for answer in (search, listing):
        problem = assert_problem(answer, 422)
        assert problem["detail"].startswith(f"metadata: {words}")
        assert [error["field"] for error in problem["errors"]] == ["metadata"]


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/batch", "/v1/memories/search"])
async def test_parameters_of_a_route_without_any_are_refused(
    client: httpx2.AsyncClient, path: str
) -> None:
    problem = assert_problem(await client.post(f"{path}?agent_id=a", json=MEMORY), 422)
    assert [error["field"] for error in problem["errors"]] == ["query string"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/memories?agent_id=a&user_id=u"),
        ("DELETE", f"/v1/memories/{UUID(int=7)}?agent_id=a"),
        ("GET", "/v1/memories?agent_id=a"),
        ("HEAD", "/v1/memories?agent_id=a"),
        ("POST", f"/v1/memories/{UUID(int=7)}/restore?agent_id=a"),
        ("POST", "/v1/summaries/run?agent_id=a"),
    ],
)
async def test_body_of_a_route_without_one_is_refused_unless_it_is_empty(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    """A caller may take it for a filter, above all of what is deleted."""
    await add(client)

    async def chunks() -> Any:
        yield b'{"metadata":'
        yield b'{"n": 1}}'

    for body in (b'{"metadata": {"n": 1}}', b"[]", b"x" * 100_000, chunks()):
        answer = await client.request(method, path, content=body)
        assert answer.status_code == 422, answer.text
        if method != "HEAD":
            assert [error["field"] for error in answer.json()["errors"]] == ["body"]
    count = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert count.json()["count"] == 1
    for body in (b"", b" {} ", b"null"):
        answer = await client.request(method, path, content=body)
        assert answer.status_code != 422, answer.text


async def test_export_takes_no_filter(client: httpx2.AsyncClient) -> None:
    """An export is complete, superseded memories included."""
    path = "/v1/memories/export?agent_id=a&include_superseded=false"
    problem = assert_problem(await client.get(path), 422)
    assert [error["field"] for error in problem["errors"]] == ["include_superseded"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"agent_id":"a","user_id":"u","content":"x","importance":NaN}',
        b'{"agent_id":"a","user_id":"u","content":"x","importance":Infinity}',
        b'{"agent_id":"a","user_id":"u","content":"x","metadata":{"n":NaN}}',
        b'{"agent_id":"a","user_id":"u","content":"\\ud800"}',
        b'{"agent_id":"a","user_id":"u","content":"x","metadata":{"\\udc00":1}}',
        b"[" * 100_000,
        b'{"agent_id":"a","user_id":"u","content":"x","metadata":'
        + b'{"a":' * 5_000
        + b"1"
        + b"}" * 5_001,
        b'{"agent_id":"a","user_id":"u","content":"x","metadata":{"n":1e999}}',
        b'{"agent_id":"a","user_id":"u","content":"x","metadata":{"n":' + b"9" * 5_000 + b"}}",
        b'"text"',
        b"[]",
        b"null",
    ],
)
@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/search", "/v1/memories/batch"])
async def test_malformed_bodies_are_refused(
    client: httpx2.AsyncClient, path: str, body: bytes
) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("media_type", ["text/plain", "", "application/x-www-form-urlencoded"])
async def test_other_media_types_are_refused(client: httpx2.AsyncClient, media_type: str) -> None:
    answer = await client.post(
        "/v1/memories", content=json.dumps(MEMORY), headers={"content-type": media_type}
    )
    assert_problem(answer, 415)


async def test_media_type_parameters_are_accepted(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/v1/memories",
        content=json.dumps(MEMORY),
        headers={"content-type": "Application/JSON; charset=utf-8"},
    )
    assert answer.status_code == 201


async def test_many_errors_are_counted_and_partly_listed(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/memories", json={**MEMORY, **{f"f{n}": n for n in range(500)}})
    problem = assert_problem(answer, 422)
    assert len(problem["errors"]) == 100
    assert problem["detail"].endswith("and 497 more")


async def test_large_bodies_are_refused_with_and_without_a_length(
    client: httpx2.AsyncClient,
) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 65_536

    headers = {"content-type": "application/json"}
    declared = await client.post("/v1/memories", content=b" " * 1_048_577, headers=headers)
    assert_problem(declared, 413)
    assert_problem(await client.post("/v1/memories", content=chunks(), headers=headers), 413)


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/v1/memories", "agent_id"),
        ("/v1/memories?agent_id=a&limit=0", "limit"),
        ("/v1/memories?agent_id=a&limit=201", "limit"),
        ("/v1/memories?agent_id=a&limit=ten", "limit"),
        ("/v1/memories?agent_id=a&cursor=nonsense", "cursor"),
        ("/v1/memories?agent_id=a&memory_type=x", "memory_type"),
        ("/v1/memories?agent_id=a&agent_id=b", "agent_id"),
        ("/v1/memories?agent_id=a&more=1", "more"),
        ("/v1/memories?agent_id=%ff", "query string"),
        ("/v1/memories?agent_id=a%00", "agent_id"),
        ("/v1/memories/count?user_id=u", "agent_id"),
        ("/v1/memories/not-a-uuid?agent_id=a", "id"),
        ("/v1/memories/00000000-0000-0000-0000-00000000000g?agent_id=a", "id"),
        ("/v1/memories/00000000-0000-0000-0000-000000000007", "agent_id"),
    ],
)
async def test_errors_name_the_bad_parameter(
    client: httpx2.AsyncClient, url: str, field: str
) -> None:
    problem = assert_problem(await client.get(url), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
