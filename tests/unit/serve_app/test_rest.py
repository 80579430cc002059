"""The REST surface over in-memory parts: every route, every way to get it wrong."""

import inspect
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from serve_app.rest.asgi import build_rest_app
from serve_app.service import MemoryService
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.store import InMemoryStore
from tests.unit.serve_app.conftest import Recorded

MEMORY: dict[str, Any] = {"agent_id": "a", "user_id": "u", "content": "likes green tea"}
SEARCH: dict[str, Any] = {"agent_id": "a", "user_id": "u", "query": "tea"}


async def add(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/memories", json={**MEMORY, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = dict(answer.json())
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


async def test_post_gives_the_whole_memory(client: httpx.AsyncClient) -> None:
    before = datetime.now(UTC)
    memory = await add(client)
    assert UUID(memory["id"]).version == 7
    assert before <= datetime.fromisoformat(memory["created_at"]) <= datetime.now(UTC)
    assert memory | MEMORY == memory
    assert (memory["importance"], memory["memory_type"], memory["metadata"], memory["score"]) == (
        1.0, "episodic", {}, None,
    )  # fmt: skip


async def test_post_takes_every_field(client: httpx.AsyncClient) -> None:
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


async def test_batch_keeps_the_order(client: httpx.AsyncClient) -> None:
    entries = [{**MEMORY, "content": f"m {n}", "agent_id": f"a{n % 3}"} for n in range(256)]
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    assert answer.status_code == 201
    assert [memory["content"] for memory in answer.json()["memories"]] == [
        f"m {n}" for n in range(256)
    ]


async def test_batch_names_the_bad_entry_and_stores_none(
    client: httpx.AsyncClient, store: InMemoryStore
) -> None:
    entries = [MEMORY, {**MEMORY, "content": ""}, {**MEMORY, "importance": 3}]
    problem = assert_problem(
        await client.post("/v1/memories/batch", json={"memories": entries}), 422
    )
    assert [error["field"] for error in problem["errors"]] == [
        "memories[1].content",
        "memories[2].importance",
    ]
    assert await store.count("a", None) == 0


async def test_search_ranks(client: httpx.AsyncClient) -> None:
    await add(client, content="green tea")
    await add(client, content="blue sky")
    answer = await client.post("/v1/memories/search", json={**SEARCH, "query": "green tea"})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["query"], body["total"]) == ("green tea", 2)
    assert [hit["content"] for hit in body["results"]] == ["green tea", "blue sky"]
    assert body["results"][0]["score"] == 1.0


async def test_search_passes_every_parameter_on(client: httpx.AsyncClient) -> None:
    await add(client, content="old", created_at="2020-01-01T00:00:00Z", metadata={"p": 1})
    await add(client, content="new", metadata={"p": 1}, memory_type="semantic")
    for fields, expected in (
        ({"top_k": 1, "alpha": 0}, ["new"]),
        ({"memory_type": "semantic"}, ["new"]),
        ({"metadata": {"p": 2}}, []),
        ({"created_before": "2021-01-01T00:00:00Z"}, ["old"]),
        ({"created_after": "2021-01-01T00:00:00Z"}, ["new"]),
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


async def test_results_are_explained_when_asked(client: httpx.AsyncClient) -> None:
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


async def test_a_search_says_whether_it_was_reranked(client: httpx.AsyncClient) -> None:
    await add(client)
    answer = await client.post("/v1/memories/search", json=SEARCH)
    assert answer.json()["reranked"] is None


async def test_list_pages_through(client: httpx.AsyncClient) -> None:
    for n in range(5):
        await add(client, content=f"m {n}", created_at=f"2024-01-0{n + 1}T00:00:00Z")
    seen, cursor = [], None
    while True:
        params = {"agent_id": "a", "user_id": "u", "limit": "2"} | (
            {"cursor": cursor} if cursor else {}
        )
        page = (await client.get("/v1/memories", params=params)).json()
        seen += [memory["content"] for memory in page["memories"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["m 4", "m 3", "m 2", "m 1", "m 0"]


async def test_get_patch_delete(client: httpx.AsyncClient) -> None:
    memory = await add(client)
    url, owner = f"/v1/memories/{memory['id']}", {"agent_id": "a"}
    assert (await client.get(url, params=owner)).json() == memory
    patched = await client.patch(url, params=owner, json={"content": "new", "metadata": {"x": 1}})
    assert patched.status_code == 200
    assert patched.json() | {"content": "new", "metadata": {"x": 1}} == patched.json()
    deleted = await client.delete(url, params=owner)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_problem(await client.get(url, params=owner), 404)


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/memories/batch"])
async def test_a_write_under_a_key_is_made_once(client: httpx.AsyncClient, path: str) -> None:
    body = {"memories": [MEMORY]} if path.endswith("batch") else MEMORY
    key = {"Idempotency-Key": "8f14e45f"}
    first = await client.post(path, json=body, headers=key)
    spaced = json.dumps(body, indent=2)
    again = await client.post(
        path, content=spaced, headers={**key, "content-type": "application/json"}
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    other = json.loads(json.dumps(body).replace("green tea", "coffee"))
    problem = assert_problem(await client.post(path, json=other, headers=key), 422)
    assert "'8f14e45f' was used for another write" in problem["detail"]
    await client.post(path, json=body)
    count = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert count.json()["count"] == 2


async def test_a_key_is_of_one_route(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    await client.post("/v1/memories", json=MEMORY, headers=key)
    batch = await client.post("/v1/memories/batch", json={"memories": [MEMORY]}, headers=key)
    assert_problem(batch, 422)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([""], "1 to 255 printable"),
        (["x" * 256], "1 to 255 printable"),
        (["é"], "1 to 255 printable"),
        (["a", "b"], "more than once"),
    ],
)
async def test_bad_keys(client: httpx.AsyncClient, keys: list[str], said: str) -> None:
    headers = [("Idempotency-Key", key.encode("latin-1")) for key in keys]
    answer = await client.post("/v1/memories", json=MEMORY, headers=headers)
    assert said in assert_problem(answer, 422)["detail"]


async def test_a_key_is_of_one_agent(client: httpx.AsyncClient) -> None:
    both = {"memories": [MEMORY, {**MEMORY, "agent_id": "b"}]}
    answer = await client.post("/v1/memories/batch", json=both, headers={"Idempotency-Key": "k"})
    assert "all memories are of one agent" in assert_problem(answer, 422)["detail"]


async def test_history(client: httpx.AsyncClient) -> None:
    memory = await add(client)
    url, owner = f"/v1/memories/{memory['id']}", {"agent_id": "a"}
    for n in range(5):
        await client.patch(url, params=owner, json={"content": f"version {n + 2}"})
    seen: list[str] = []
    params: dict[str, Any] = {**owner, "limit": "2"}
    while True:
        page = (await client.get(f"{url}/history", params=params)).json()
        seen += [version["content"] for version in page["versions"]]
        if page["next_before"] is None:
            break
        params["before"] = page["next_before"]
    assert seen == ["version 5", "version 4", "version 3", "version 2", "likes green tea"]
    assert_problem(await client.get(f"{url}/history", params={"agent_id": "b"}), 404)
    assert_problem(await client.get(f"{url}/history", params={**owner, "before": "0"}), 422)


async def test_a_memory_may_be_for_a_time(client: httpx.AsyncClient) -> None:
    now = datetime.now(UTC)
    timed = await add(client, ttl_seconds=3_600)
    ends = datetime.fromisoformat(timed["expires_at"])
    assert timedelta(0) <= ends - now - timedelta(hours=1) < timedelta(minutes=1)
    dated = await add(client, expires_at=FUTURE)
    assert datetime.fromisoformat(dated["expires_at"]) == datetime.fromisoformat(FUTURE)
    url, owner = f"/v1/memories/{dated['id']}", {"agent_id": "a"}

    async def changed(**fields: Any) -> str | None:
        answer = await client.patch(url, params=owner, json=fields)
        assert answer.status_code == 200, answer.text
        ends: str | None = answer.json()["expires_at"]
        return ends

    assert await changed(importance=1.5) == dated["expires_at"]
    soon = await changed(ttl_seconds=60)
    assert soon is not None
    assert datetime.fromisoformat(soon) < datetime.fromisoformat(FUTURE)
    assert await changed(expires_at=None) is None
    assert (await add(client))["expires_at"] is None
    both = {"expires_at": FUTURE, "ttl_seconds": 5}
    for answer in (
        await client.patch(url, params=owner, json=both),
        await client.post("/v1/memories", json={**MEMORY, **both}),
    ):
        assert "give either expires_at or ttl_seconds" in assert_problem(answer, 422)["detail"]


async def test_forget_and_count(client: httpx.AsyncClient) -> None:
    await add(client)
    await add(client, user_id="other")
    counted = await client.get("/v1/memories/count", params={"agent_id": "a", "user_id": "u"})
    assert counted.json() == {"agent_id": "a", "user_id": "u", "count": 1}
    gone = await client.delete("/v1/memories", params={"agent_id": "a", "user_id": "u"})
    assert (gone.status_code, gone.json()) == (200, {"deleted": 1})
    counted = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert counted.json() == {"agent_id": "a", "user_id": None, "count": 1}


@pytest.mark.parametrize(
    "params", [{}, {"agent_id": "a"}, {"user_id": "u"}, {"agent_id": "", "user_id": "u"}]
)
async def test_forgetting_wants_both_names(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    await add(client)
    assert_problem(await client.delete("/v1/memories", params=params), 422)
    assert (await client.get("/v1/memories/count", params={"agent_id": "a"})).json()["count"] == 1


async def test_other_agents_see_nothing(client: httpx.AsyncClient) -> None:
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


FUTURE = (datetime.now(UTC) + timedelta(hours=2)).isoformat()  # collected long before it is used


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
async def test_bad_fields_are_named(
    client: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    problem = assert_problem(await client.post("/v1/memories", json={**MEMORY, **fields}), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert field in problem["detail"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": "x" * 2_001}, "query"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 51}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"alpha": 1.01}, "alpha"),
        ({"alpha": 5e-324}, "alpha"),
        ({"half_life_days": 0}, "half_life_days"),
        ({"importance_weight": 2}, "importance_weight"),
        ({"min_score": "high"}, "min_score"),
        ({"mode": "keyword"}, "mode"),
        ({"mode": None}, "mode"),
        ({"fusion": "sum"}, "fusion"),
        ({"lexical_weight": -0.1}, "lexical_weight"),
        ({"lexical_weight": 10.1}, "lexical_weight"),
        ({"lexical_weight": 1e-300}, "lexical_weight"),
        ({"explain": "yes"}, "explain"),
        ({"created_after": "2024-13-01T00:00:00Z"}, "created_after"),
    ],
)
async def test_bad_search_fields_are_named(
    client: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/memories/search", json={**SEARCH, **fields})
    problem = assert_problem(answer, 422)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("size", [0, 257])
async def test_batches_have_a_size(client: httpx.AsyncClient, size: int) -> None:
    answer = await client.post("/v1/memories/batch", json={"memories": [MEMORY] * size})
    assert_problem(answer, 422)


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
async def test_bodies_that_are_not_ours_are_refused(
    client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("media_type", ["text/plain", "", "application/x-www-form-urlencoded"])
async def test_other_media_types_are_refused(client: httpx.AsyncClient, media_type: str) -> None:
    answer = await client.post(
        "/v1/memories", content=json.dumps(MEMORY), headers={"content-type": media_type}
    )
    assert_problem(answer, 415)


async def test_many_errors_are_counted_not_all_listed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/memories", json={**MEMORY, **{f"f{n}": n for n in range(500)}})
    problem = assert_problem(answer, 422)
    assert len(problem["errors"]) == 100
    assert problem["detail"].endswith("and 497 more")


async def test_a_client_that_goes_away_is_no_fault_of_ours(
    client: httpx.AsyncClient, metrics: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/memories",
        "raw_path": b"/v1/memories",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        return None

    await transport.app(scope, receive, send)
    assert metrics.answers == [("POST", "/v1/memories", 400)]
    assert not caplog.records


async def test_media_type_parameters_are_fine(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/memories",
        content=json.dumps(MEMORY),
        headers={"content-type": "Application/JSON; charset=utf-8"},
    )
    assert answer.status_code == 201


async def test_large_bodies_are_refused_declared_or_not(client: httpx.AsyncClient) -> None:
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
        (f"/v1/memories/{uuid4()}", "agent_id"),
    ],
)
async def test_bad_parameters_are_named(client: httpx.AsyncClient, url: str, field: str) -> None:
    problem = assert_problem(await client.get(url), 422)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    "body", [{}, {"content": None}, {"agent_id": "b"}, {"content": ""}, {"user_id": "x"}]
)
async def test_bad_patches_are_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    memory = await add(client)
    answer = await client.patch(f"/v1/memories/{memory['id']}", params={"agent_id": "a"}, json=body)
    assert_problem(answer, 422)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("PUT", "/v1/memories", 405, {"GET", "HEAD", "POST", "DELETE"}),
        ("GET", "/v1/memories/search", 405, {"POST"}),
        ("DELETE", "/v1/memories/count", 405, {"GET", "HEAD"}),
        ("DELETE", "/v1/memories/?agent_id=a&user_id=u", 404, None),
        ("DELETE", "/health", 405, {"GET", "HEAD"}),
        ("POST", f"/v1/memories/{uuid4()}", 405, {"GET", "HEAD", "PATCH", "DELETE"}),
    ],
)
async def test_wrong_routes_and_methods(
    client: httpx.AsyncClient, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, status)
    if allow is not None:
        assert {name.strip() for name in answer.headers["allow"].split(",")} == allow


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "10.0.0.1", "127.0.0.1.nip.io"]
)
@pytest.mark.parametrize("path", ["/v1/memories?agent_id=a", "/health", "/metrics", "/docs"])
async def test_foreign_hosts_are_refused(client: httpx.AsyncClient, host: str, path: str) -> None:
    assert_problem(await client.get(path, headers={"host": host}), 421)


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "Memex.Example.org:80"]
)
async def test_known_hosts_are_served(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/health", headers={"host": host})).status_code == 200


async def test_no_cors(client: httpx.AsyncClient) -> None:
    answer = await client.options("/v1/memories", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_health_and_outages(
    client: httpx.AsyncClient, store: InMemoryStore, embedder: FakeEmbedder
) -> None:
    well = {"status": "ok", "db": "ok", "embedder": "ok", "version": "1.2.3"}
    assert (await client.get("/health")).json() == well
    store.down = True
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == well | {"status": "degraded", "db": "down"}
    assert int(answer.headers["retry-after"]) >= 1
    for call in (
        client.post("/v1/memories", json=MEMORY),
        client.post("/v1/memories/search", json=SEARCH),
        client.get("/v1/memories", params={"agent_id": "a"}),
    ):
        refused = await call
        assert_problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
    store.down = False
    assert (await client.post("/v1/memories", json=MEMORY)).status_code == 201


@pytest.mark.parametrize("limits", [(1, 2)])
async def test_limits_say_when_to_come_back(client: httpx.AsyncClient, metrics: Recorded) -> None:
    await add(client)
    refused = await client.post("/v1/memories", json=MEMORY)
    assert_problem(refused, 429)
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    for status in (200, 200, 429):
        answer = await client.post("/v1/memories/search", json=SEARCH)
        assert answer.status_code == status
    assert metrics.limited == ["write", "search"]
    await add(client, agent_id="another")


async def test_faults_show_nothing_of_themselves(
    client: httpx.AsyncClient, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object) -> None:
        raise RuntimeError("select secret from somewhere")

    monkeypatch.setattr(store, "count", broken)
    answer = await client.get("/v1/memories/count", params={"agent_id": "a"})
    assert_problem(answer, 500)
    assert "secret" not in answer.text


async def test_metrics_have_route_templates(client: httpx.AsyncClient, metrics: Recorded) -> None:
    memory = await add(client)
    await client.get(f"/v1/memories/{memory['id']}", params={"agent_id": "a"})
    await client.get("/nothing/here")
    assert metrics.answers == [
        ("POST", "/v1/memories", 201),
        ("GET", "/v1/memories/{memory_id}", 200),
        ("GET", "(none)", 404),
    ]


@pytest.mark.parametrize(
    ("method", "path", "counted"),
    [
        ("GET", "/nothing/of/ana", ("GET", "(none)", 404)),
        ("GET", "/docs-assets/swagger-ui.css", ("GET", "/docs-assets", 200)),
        ("GET", "/docs-assets/ana.css", ("GET", "/docs-assets", 404)),
        ("ANA", "/v1/memories", ("(other)", "/v1/memories", 405)),
        ("DELETE", "/v1/memories/ana", ("DELETE", "/v1/memories/{memory_id}", 422)),
    ],
)
async def test_no_label_is_a_callers_to_choose(
    client: httpx.AsyncClient,
    metrics: Recorded,
    method: str,
    path: str,
    counted: tuple[str, str, int],
) -> None:
    await client.request(method, path)
    assert metrics.answers == [counted]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0.0", None), ("br", None), ("", None)],
)
async def test_metrics_are_prometheus_text_and_shorter_where_asked(
    client: httpx.AsyncClient, accepted: str, encoding: str | None
) -> None:
    answer = await client.get("/metrics", headers={"accept-encoding": accepted})
    assert answer.text == "memex_up 1\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_docs_need_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    root = await client.get("/")
    assert (root.status_code, root.headers["location"]) == (307, "docs")
    for page, asset in (("/docs", "swagger-ui-bundle.js"), ("/redoc", "redoc.standalone.js")):
        html = (await client.get(page)).text
        assert "http" not in html
        assert f"docs-assets/{asset}" in html
        assert (await client.get(f"/docs-assets/{asset}")).status_code == 200


async def test_openapi_describes_every_route(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {
        ("POST", "/v1/memories"),
        ("GET", "/v1/memories"),
        ("DELETE", "/v1/memories"),
        ("POST", "/v1/memories/batch"),
        ("POST", "/v1/memories/search"),
        ("GET", "/v1/memories/count"),
        ("GET", "/v1/memories/export"),
        ("POST", "/v1/memories/import"),
        ("GET", "/v1/memories/{memory_id}"),
        ("GET", "/v1/memories/{memory_id}/history"),
        ("GET", "/v1/memories/{memory_id}/sources"),
        ("POST", "/v1/memories/{memory_id}/restore"),
        ("POST", "/v1/summaries/run"),
        ("PATCH", "/v1/memories/{memory_id}"),
        ("DELETE", "/v1/memories/{memory_id}"),
        ("GET", "/v1/memories/timeline"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/agents/{agent_id}/users"),
        ("GET", "/health"),
    }
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"]
    search = document["components"]["schemas"]["SearchIn"]
    assert search["properties"]["top_k"] == {
        "default": 10, "maximum": 50, "minimum": 1, "title": "Top K", "type": "integer",
    }  # fmt: skip
    assert search["additionalProperties"] is False


def test_errors_are_answered_without_a_thread() -> None:
    """Starlette has a function that is not async run in one, which costs more than the request."""
    service = MemoryService(FakeEmbedder(), InMemoryStore(), 0, 0)
    app = build_rest_app(service, Recorded(), _no_metrics, (), "1")
    assert len(app.exception_handlers) >= 3
    assert all(map(inspect.iscoroutinefunction, app.exception_handlers.values()))


async def _no_metrics() -> str:
    return ""
