"""Ids and blank text: one rule, on every route."""

from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from pydantic import BaseModel

from serve_app.rest.operation import Operation
from serve_app.rest.routes import OPERATIONS
from tests.support.jsonl_calls import body, import_lines, line
from tests.support.rest_calls import MEMORY, SEARCH, add, assert_problem

BAD_IDS = {
    " a": "space",
    "a\u00a0": "space",
    "a\nb": "control",
    "a\x85b": "control",
    "e\u0301": "NFC",
    "a\u200bb": "cannot be seen",
    "a\ufeff": "cannot be seen",
    "\u200b": "blank",
    " \n": "blank",
    "..": "must not be . or ..",
}
ODD_IDS = [
    "a/x y",
    "a//b",
    "/",
    "%2F",
    "?#&=+",
    "a b",
    "山田",
    "~",
    "...",
    "<b>",
    '"',
    "\\",
    "x/users",
]


def _ids_of(model: type[BaseModel] | None) -> list[str]:
    return [name for name in ("agent_id", "user_id") if model and name in model.model_fields]


def _cases() -> list[tuple[Operation, str, str]]:
    """Every id that an operation takes: the operation, where the id stands, its name."""
    cases = []
    for operation in OPERATIONS:
        cases += [(operation, "query", name) for name in _ids_of(operation.query)]
        cases += [(operation, "body", name) for name in _ids_of(operation.body)]
        if "{agent_id}" in operation.path:
            cases.append((operation, "path", "agent_id"))
    return cases


@pytest.mark.parametrize(
    ("operation", "place", "name"),
    _cases(),
    ids=lambda value: value if isinstance(value, str) else f"{value.method} {value.path}",
)
@pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
async def test_every_route_refuses_ids_that_break_the_rules(
    client: httpx2.AsyncClient, operation: Operation, place: str, name: str, bad: str
) -> None:
    path = operation.path.replace("{memory_id}", "0198b2c4-0000-7000-8000-000000000000")
    query = dict.fromkeys(_ids_of(operation.query), "a")
    content: dict[str, Any] = {**MEMORY, **SEARCH} if operation.body else {}
    match place:
        case "query":
            query[name] = bad
        case "body":
            content[name] = bad
    agent = bad if place == "path" else "a"
    path = path.replace("{agent_id}", quote(agent, safe="").replace(".", "%2E"))
    answer = await client.request(
        operation.method, path, params=query, json=content or None, follow_redirects=False
    )
    problem = assert_problem(answer, 422)
    reasons = {error["field"]: error["message"] for error in problem["errors"]}
    assert BAD_IDS[bad] in reasons[name]


@pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
async def test_import_refuses_lines_with_such_ids(client: httpx2.AsyncClient, bad: str) -> None:
    refused, end = await import_lines(client, body(line(user_id=bad), line()))
    assert [entry["line"] for entry in refused] == [1]
    assert BAD_IDS[bad] in str(refused[0])
    assert end["stored"] == 1


@pytest.mark.parametrize("blank", [" ", "\n\t ", "\u200b", "\u3000\ufeff", "\u00ad", "\ufe0f"])
async def test_blank_text_is_refused_on_every_route(client: httpx2.AsyncClient, blank: str) -> None:
    memory = await add(client)
    for method, path, fields in (
        ("POST", "/v1/memories", {**MEMORY, "content": blank}),
        ("POST", "/v1/memories/batch", {"memories": [{**MEMORY, "content": blank}]}),
        ("POST", "/v1/memories/search", {**SEARCH, "query": blank}),
        ("PATCH", f"/v1/memories/{memory['id']}?agent_id=a", {"content": blank}),
    ):
        problem = assert_problem(await client.request(method, path, json=fields), 422)
        assert "must not be blank" in problem["detail"]
    refused, _ = await import_lines(client, body(line(content=blank)))
    assert "must not be blank" in str(refused[0])


@pytest.mark.parametrize("agent", ODD_IDS)
async def test_memories_of_every_accepted_id_are_listed_read_and_deleted(
    client: httpx2.AsyncClient, agent: str
) -> None:
    memory = await add(client, agent_id=agent, user_id=agent)
    users = await client.get(f"/v1/agents/{quote(agent, safe='')}/users")
    assert [user["user_id"] for user in users.json()["users"]] == [agent]
    scope = {"agent_id": agent, "user_id": agent}
    for path in ("/v1/memories", f"/v1/memories/{memory['id']}"):
        only_agent = {"agent_id": agent}
        assert (await client.get(path, params=only_agent)).status_code == 200
    assert (await client.delete("/v1/memories", params=scope)).status_code in (200, 204)
    assert (await client.get("/v1/agents")).json()["agents"] == []
