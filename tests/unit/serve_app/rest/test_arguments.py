"""Input as typed languages write it, at every field of every route, by the OpenAPI document."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from serve_app.rest.openapi import openapi_document
from tests.support.jsonl_calls import AGENT, JSONL
from tests.support.rest_calls import MEMORY, add, assert_problem
from tests.support.schemas.samples import Path, Samples, Schema, misspelt, with_value

DOCUMENT = openapi_document("1")
SAMPLES = Samples(DOCUMENT["components"]["schemas"])
JSON = "application/json"
Call = tuple[str, str]


def bodies() -> Iterator[tuple[Call, Schema]]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                yield (method, path), media["schema"]


def parameters() -> Iterator[tuple[Call, str, Schema]]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    yield (method, path), parameter["name"], parameter["schema"]


FIELDS = [(call, *field) for call, schema in bodies() for field in SAMPLES.properties(schema)]
BODIES = dict(bodies())
OPTIONAL = [(call, path) for call, path, _, is_required in FIELDS if not is_required]
REQUIRED = [(call, path) for call, path, _, is_required in FIELDS if is_required]
WHOLE = [(call, path, s["minimum"]) for call, path, s, _ in FIELDS if s.get("type") == "integer"]
NAMES = [(call, path) for call, path, _, _ in FIELDS]
PARAMETERS = [(call, name) for call, name, _ in parameters()]
WHOLE_PARAMETERS = [
    (call, name, schema["minimum"])
    for call, name, schema in parameters()
    if schema.get("type") == "integer"
]

Send = Callable[..., Any]


def named(value: Any) -> str | None:
    """A test's id: the path of a field or a route."""
    return ".".join(map(str, value)) if isinstance(value, tuple) else None


def body_of(call: Call, tested: Path) -> Any:
    """A valid body without the field under test; a change has to change something."""
    body = SAMPLES.value(BODIES[call])
    if call[0] == "patch":
        body = {"importance": 1} if tested[0] != "importance" else {"content": "x"}
    return body


@pytest.fixture
async def memory_id(client: httpx2.AsyncClient) -> str:
    return str((await add(client))["id"])


@pytest.fixture
def send(client: httpx2.AsyncClient, memory_id: str) -> Send:
    async def request(call: Call, body: Any = None, **query: str) -> httpx2.Response:
        method, path = call
        url = path.replace("{memory_id}", memory_id).replace("{agent_id}", "a")
        known = {name for of, name in PARAMETERS if of == call}
        ids = {"agent_id": "a", "user_id": "u"} if path != "/v1/summaries/run" else {}
        params = {name: value for name, value in ids.items() if name in known} | query
        if body is None:
            return await client.request(method, url, params=params)
        media = JSONL["content-type"] if path.endswith("/import") else JSON
        content = json.dumps(body)
        return await client.request(
            method, url, params=params, content=content, headers={"content-type": media}
        )

    return request


def refusals(answer: httpx2.Response) -> list[str]:
    """What an answer refuses, by field; an import answers 200 and refuses lines."""
    if answer.headers["content-type"] == JSONL["content-type"]:
        return [json.loads(line)["reason"] for line in answer.text.splitlines()[:-1]]
    if answer.status_code in (200, 201):
        return []
    errors = assert_problem(answer, 422)["errors"]
    return [f"{error['field']}: {error['message']}" for error in errors]


def shown(path: Path) -> str:
    """A path as errors show it."""
    return ".".join(map(str, path)).replace(".0", "[0]")


def test_there_are_fields_of_every_kind() -> None:
    assert len(BODIES) == 5
    assert len(OPTIONAL) >= 35
    assert len(WHOLE) >= 4
    assert len(WHOLE_PARAMETERS) >= 5


@pytest.mark.parametrize(("call", "path"), OPTIONAL, ids=named)
async def test_null_for_an_optional_field_is_its_default(
    send: Send, call: Call, path: Path
) -> None:
    assert refusals(await send(call, with_value(body_of(call, path), path, None))) == []


@pytest.mark.parametrize("call", BODIES, ids=named)
async def test_all_optional_fields_may_be_null_at_once(send: Send, call: Call) -> None:
    body = body_of(call, ("all",))
    for of, path in OPTIONAL:
        if of == call and path != ("importance",):
            body = with_value(body, path, None)
    assert refusals(await send(call, body)) == []


@pytest.mark.parametrize(("call", "path"), REQUIRED, ids=named)
async def test_null_for_a_required_field_is_refused(send: Send, call: Call, path: Path) -> None:
    (refusal,) = refusals(await send(call, with_value(body_of(call, path), path, None)))
    assert refusal.startswith(f"{shown(path)}: ")


@pytest.mark.parametrize(("call", "path", "least"), WHOLE, ids=named)
async def test_whole_float_is_an_integer(send: Send, call: Call, path: Path, least: int) -> None:
    for value, is_refused in [
        (float(least), False),
        (least + 0.5, True),
        (True, True),
        ("9", True),
    ]:
        found = refusals(await send(call, with_value(body_of(call, path), path, value)))
        assert [entry.partition(": ")[0] for entry in found] == [shown(path)] * is_refused, value


@pytest.mark.parametrize(("call", "path"), NAMES, ids=named)
async def test_misspelt_field_is_refused_with_the_right_name(
    send: Send, call: Call, path: Path
) -> None:
    *parents, name = path
    for wrong in misspelt(str(name)):
        body = with_value(body_of(call, path), (*parents, wrong), 1)
        (refusal,) = refusals(await send(call, body))
        assert refusal == f"{shown((*parents, wrong))}: is unknown; did you mean {name}?"


@pytest.mark.parametrize(("call", "name", "least"), WHOLE_PARAMETERS, ids=named)
async def test_whole_float_is_an_integer_in_a_query_string(
    send: Send, call: Call, name: str, least: int
) -> None:
    texts = {f"{least}.0": False, f"{least}e0": False, f"{least}.5": True, "true": True, "": True}
    for text, is_refused in texts.items():
        found = refusals(await send(call, **{name: text}))
        assert [entry.partition(": ")[0] for entry in found] == [name] * is_refused, text


@pytest.mark.parametrize(("call", "name"), PARAMETERS, ids=named)
async def test_empty_parameter_is_refused(send: Send, call: Call, name: str) -> None:
    (refusal,) = refusals(await send(call, **{name: ""}))
    assert refusal.startswith(f"{name}: ")


@pytest.mark.parametrize(("call", "name"), PARAMETERS, ids=named)
async def test_misspelt_parameter_is_refused_with_the_right_name(
    send: Send, call: Call, name: str
) -> None:
    for wrong in misspelt(name):
        found = refusals(await send(call, **{wrong: "1"}))
        assert found == [f"{wrong}: is unknown; did you mean {name}?"]


async def test_null_clears_an_expiry_and_changes_nothing_else(client: httpx2.AsyncClient) -> None:
    memory = await add(client, ttl_seconds=3_600, metadata={"a": 1}, importance=2)
    url = f"/v1/memories/{memory['id']}"
    nulls = dict.fromkeys(["content", "importance", "memory_type", "metadata", "ttl_seconds"])
    refused = await client.patch(url, params=AGENT, json=nulls)
    assert assert_problem(refused, 422)["detail"] == "body: names no field to change"
    cleared = await client.patch(url, params=AGENT, json={**nulls, "expires_at": None})
    changed = {"expires_at": None, "updated_at": cleared.json()["updated_at"]}
    assert cleared.json() == memory | changed


async def test_numbers_in_metadata_are_kept(client: httpx2.AsyncClient) -> None:
    metadata = '{"a":10.0,"b":10,"c":[true,null,0.5]}'
    body = json.dumps(MEMORY).removesuffix("}") + f', "metadata": {metadata}}}'
    answer = await client.post("/v1/memories", content=body, headers={"content-type": JSON})
    assert answer.status_code == 201
    assert f'"metadata":{metadata}' in answer.text


async def test_writes_with_null_and_without_are_one_write(client: httpx2.AsyncClient) -> None:
    key = {"idempotency-key": "k"}
    first = await client.post("/v1/memories", json=MEMORY, headers=key)
    nulls = {"importance": None, "metadata": None, "ttl_seconds": None}
    second = await client.post("/v1/memories", json={**MEMORY, **nulls}, headers=key)
    assert (second.status_code, second.json()) == (201, first.json())


def test_published_schemas_have_one_format_and_no_null_parameters() -> None:
    formats = {part.split('"')[0] for part in json.dumps(DOCUMENT).split('"format": "')[1:]}
    assert formats == {"date-time"}
    assert all("anyOf" not in schema for _, _, schema in parameters())
