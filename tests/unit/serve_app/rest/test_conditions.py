"""ETag, If-None-Match and If-Match, and headers that a route does not evaluate."""

from typing import Any

import httpx2
import pytest

from serve_app.rest.routes import OPERATIONS
from tests.support.rest_calls import MEMORY, SEARCH, add, assert_problem

OWNER = {"agent_id": "a"}
LINES = {"content-type": "application/x-ndjson"}


async def post(client: httpx2.AsyncClient, **fields: Any) -> tuple[str, str]:
    """The URL and the ETag of a new memory."""
    answer = await client.post("/v1/memories", json={**MEMORY, **fields})
    return f"/v1/memories/{answer.json()['id']}", answer.headers["etag"]


async def test_answers_with_one_memory_have_the_same_strong_etag_until_it_changes(
    client: httpx2.AsyncClient,
) -> None:
    url, etag = await post(client)
    assert etag.startswith('"')
    for method in ("GET", "HEAD"):
        answer = await client.request(method, url, params=OWNER)
        assert (answer.status_code, answer.headers["etag"]) == (200, etag)
    changed = await client.patch(url, params=OWNER, json={"importance": 0.5})
    assert changed.headers["etag"] != etag
    assert (await client.get(url, params=OWNER)).headers["etag"] == changed.headers["etag"]
    assert (await post(client))[1] not in (etag, changed.headers["etag"])


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("{}", 304), ("W/{}", 304), ("*", 304), ('"a", {}', 304), (', "a",{} ,', 304),
        ('"a"', 200), ('""', 200), ('W/"a", "b"', 200),
    ],
)  # fmt: skip
async def test_known_memory_is_not_sent_again(
    client: httpx2.AsyncClient, known: str, status: int
) -> None:
    url, etag = await post(client)
    headers = {"If-None-Match": known.format(etag)}
    answer = await client.get(url, params=OWNER, headers=headers)
    assert (answer.status_code, answer.headers["etag"]) == (status, etag)
    if status == 304:
        assert answer.content == b""
        assert "content-type" not in answer.headers
    await client.patch(url, params=OWNER, json={"content": "new"})
    if known != "*":
        assert (await client.get(url, params=OWNER, headers=headers)).status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_second_of_two_writers_gets_412(client: httpx2.AsyncClient, method: str) -> None:
    url, etag = await post(client)
    first = await client.patch(
        url, params=OWNER, json={"metadata": {"b": 2}}, headers={"If-Match": etag}
    )
    assert first.status_code == 200
    body = {"metadata": {"c": 3}} if method == "PATCH" else None
    refused = await client.request(method, url, params=OWNER, json=body, headers={"If-Match": etag})
    assert "was changed since you read it" in assert_problem(refused, 412)["detail"]
    assert (await client.get(url, params=OWNER)).json() == first.json()
    headers = {"If-Match": first.headers["etag"]}
    done = await client.request(method, url, params=OWNER, json=body, headers=headers)
    assert done.status_code == (200 if method == "PATCH" else 204)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (["*"], 200), (["{}"], 200), (['"a", {}'], 200), (['"a"', "{}"], 200), (['"a",, {},'], 200),
        (["W/{}"], 412), (['"x"'], 412), (['W/"x", "y"'], 412),
    ],
)  # fmt: skip
async def test_if_match_compares_strongly_with_each_tag(
    client: httpx2.AsyncClient, values: list[str], status: int
) -> None:
    url, etag = await post(client)
    headers = [("If-Match", value.format(etag)) for value in values]
    answer = await client.patch(url, params=OWNER, json={"importance": 0.5}, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("value", ["", " , ", "abc", '"a" "b"', '"a', 'w/"a"', '*, "a"', '"a b"'])
@pytest.mark.parametrize(
    ("method", "name"), [("PATCH", "If-Match"), ("DELETE", "If-Match"), ("GET", "If-None-Match")]
)
async def test_malformed_tags_are_refused(
    client: httpx2.AsyncClient, method: str, name: str, value: str
) -> None:
    url, _ = await post(client)
    body = {"importance": 0.5} if method == "PATCH" else None
    answer = await client.request(method, url, params=OWNER, json=body, headers={name: value})
    problem = assert_problem(answer, 422)
    assert problem["errors"][0]["field"] == name
    assert "entity tags in quotes" in problem["detail"]


@pytest.mark.parametrize("value", ["*", '"x"'])
async def test_missing_memory_is_404_whatever_the_condition(
    client: httpx2.AsyncClient, value: str
) -> None:
    url, _ = await post(client)
    for method in ("PATCH", "DELETE"):
        body = {"importance": 0.5} if method == "PATCH" else None
        answer = await client.request(
            method, url, params={"agent_id": "b"}, json=body, headers={"If-Match": value}
        )
        assert_problem(answer, 404)
    answer = await client.get(url, params={"agent_id": "b"}, headers={"If-None-Match": value})
    assert_problem(answer, 404)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
async def test_headers_that_a_route_does_not_evaluate_are_refused(
    client: httpx2.AsyncClient, operation: Any
) -> None:
    memory = await add(client)
    url = operation.path.format(memory_id=memory["id"], agent_id="a")
    for name, is_read in (
        ("Idempotency-Key", operation.is_keyed),
        ("If-Match", operation.is_conditional),
        ("If-None-Match", operation.method == "GET"),
    ):
        answer = await client.request(operation.method, url, json=SEARCH, headers={name: '"x"'})
        refuses = answer.status_code == 422 and "is not accepted here" in answer.json()["detail"]
        assert refuses == (not is_read), name
