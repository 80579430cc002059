"""Checks the service's answers; locustfile.py counts a request as failed if one has a fault."""

import json
from collections.abc import Mapping
from typing import Any

_CREATED = 201
_FOUND = 200


def fault_of_write(request: Mapping[str, str], status: int, content: bytes | None) -> str | None:
    """The fault in the answer to a write of one memory; None if there is none."""
    memory, fault = _object(status, _CREATED, content)
    if fault is not None:
        return fault
    if not isinstance(memory.get("id"), str):
        return "the memory has no id"
    return _difference(request, memory)


def fault_of_search(request: Mapping[str, str], status: int, content: bytes | None) -> str | None:
    """The fault in the answer to a search of a scope with memories; None if there is none."""
    answer, fault = _object(status, _FOUND, content)
    if fault is not None:
        return fault
    results = answer.get("results")
    if not isinstance(results, list) or answer.get("total") != len(results):
        return "total is not the number of results"
    if not results:
        return "nothing was found"
    if answer.get("query") != request["query"]:
        return "another query was answered"
    scope = {name: request[name] for name in ("agent_id", "user_id")}
    for memory in results:
        if not isinstance(memory, dict) or not isinstance(memory.get("score"), float | int):
            return "a result has no score"
        if not memory.get("content"):
            return "a result has no content"
        if fault := _difference(scope, memory):
            return fault
    return None


def _object(
    status: int, expected_status: int, content: bytes | None
) -> tuple[dict[str, Any], str | None]:
    if status != expected_status:
        return {}, f"status {status}" if status else "no answer"
    try:
        body = json.loads(content or b"")
    except ValueError:
        return {}, "the answer is not JSON"
    if not isinstance(body, dict):
        return {}, "the answer is not a JSON object"
    return body, None


def _difference(expected: Mapping[str, str], memory: Mapping[str, Any]) -> str | None:
    wrong = [name for name, value in expected.items() if memory.get(name) != value]
    return f"{', '.join(wrong)} differs from the request" if wrong else None
