import json
from typing import Any

import pytest

from loadtest.answers import fault_of_search, fault_of_write

SCOPE = {"agent_id": "agent-1", "user_id": "user-2"}
MEMORY = {**SCOPE, "id": "01a1", "content": "Tea at five.", "score": None}
HIT = {**MEMORY, "score": 0.5}


def search_answer(*hits: object, **changed: object) -> dict[str, Any]:
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
        (201, {**MEMORY, "content": "", "user_id": "x"}, "user_id, content differs from the"),
    ],
)
def test_write_answers_are_checked(status: int, answer: object, fault: str | None) -> None:
    request = {**SCOPE, "content": "Tea at five."}
    message = fault_of_write(request, status, json.dumps(answer).encode())
    assert message is None if fault is None else message is not None and message.startswith(fault)


@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (200, search_answer(HIT, HIT), None),
        (503, search_answer(HIT), "status 503"),
        (200, search_answer(), "nothing was found"),
        (200, search_answer(HIT, total=2), "total is not the number of results"),
        (200, {}, "total is not the number of results"),
        (200, search_answer(HIT, query="?"), "another query was answered"),
        (200, search_answer(HIT, MEMORY), "a result has no score"),
        (200, search_answer("HIT"), "a result has no score"),
        (200, search_answer({**HIT, "content": ""}), "a result has no content"),
        (200, search_answer({**HIT, "agent_id": "agent-9"}), "agent_id differs from the request"),
    ],
)
def test_search_answers_are_checked(status: int, answer: object, fault: str | None) -> None:
    request = {**SCOPE, "query": "When is tea?"}
    assert fault_of_search(request, status, json.dumps(answer).encode()) == fault


@pytest.mark.parametrize("content", [None, b"", b"<html>", b"\xff"])
def test_answer_that_is_not_json_is_a_fault(content: bytes | None) -> None:
    assert fault_of_write(SCOPE, 201, content) == "the answer is not JSON"
