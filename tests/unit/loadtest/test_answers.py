import json
from typing import Any

import pytest

from loadtest.answers import fault_of_search, fault_of_write

SCOPE = {"agent_id": "agent-1", "user_id": "user-2"}
MEMORY = {**SCOPE, "id": "01a1", "content": "Tea at five.", "score": None}
HIT = {**MEMORY, "score": 0.5}


def found(*hits: object, **changed: object) -> dict[str, Any]:
    return {"results": list(hits), "total": len(hits), "query": "When is tea?", **changed}


@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (201, MEMORY, None),
        (200, MEMORY, "status 200"),
        (429, {}, "status 429"),
        (0, None, "no answer"),
        (201, [], "the answer is not a JSON object"),
        (201, {**MEMORY, "id": None}, "the memory has no id"),
        (201, {**MEMORY, "content": "", "user_id": "x"}, "user_id, content differs from what was"),
    ],
)
def test_writes(status: int, answer: object, fault: str | None) -> None:
    asked = {**SCOPE, "content": "Tea at five."}
    said = fault_of_write(asked, status, json.dumps(answer).encode())
    assert said is None if fault is None else said is not None and said.startswith(fault)


@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (200, found(HIT, HIT), None),
        (503, found(HIT), "status 503"),
        (200, found(), "nothing was found"),
        (200, found(HIT, total=2), "total is not the number of results"),
        (200, {}, "total is not the number of results"),
        (200, found(HIT, query="?"), "another query was answered"),
        (200, found(HIT, MEMORY), "a result has no score"),
        (200, found("HIT"), "a result has no score"),
        (200, found({**HIT, "content": ""}), "a result has no content"),
        (200, found({**HIT, "agent_id": "agent-9"}), "agent_id differs from what was asked"),
    ],
)
def test_searches(status: int, answer: object, fault: str | None) -> None:
    asked = {**SCOPE, "query": "When is tea?"}
    assert fault_of_search(asked, status, json.dumps(answer).encode()) == fault


@pytest.mark.parametrize("content", [None, b"", b"<html>", b"\xff"])
def test_what_is_not_json(content: bytes | None) -> None:
    assert fault_of_write(SCOPE, 201, content) == "the answer is not JSON"
