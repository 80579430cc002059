"""Whether the service's answers hold what was asked for: locustfile.py fails requests by it."""

import json
from collections.abc import Mapping
from typing import Any

_CREATED = 201
_FOUND = 200


def fault_of_write(asked: Mapping[str, str], status: int, content: bytes | None) -> str | None:
    """What is wrong with the answer to a write of one memory; None where nothing is."""
    memory, fault = _object(status, _CREATED, content)
    if fault is not None:
        return fault
    if not isinstance(memory.get("id"), str):
        return "the memory has no id"
    return _difference(asked, memory)


def fault_of_search(asked: Mapping[str, str], status: int, content: bytes | None) -> str | None:
    """What is wrong with the answer to a search of a scope that has memories; None where nothing
    is."""
    found, fault = _object(status, _FOUND, content)
    if fault is not None:
        return fault
    results = found.get("results")
    if not isinstance(results, list) or found.get("total") != len(results):
        return "total is not the number of results"
    if not results:
        return "nothing was found"
    if found.get("query") != asked["query"]:
        return "another query was answered"
    scope = {name: asked[name] for name in ("agent_id", "user_id")}
    for memory in results:
        if not isinstance(memory, dict) or not isinstance(memory.get("score"), float | int):
            return "a result has no score"
        if not memory.get("content"):
            return "a result has no content"
        if fault := _difference(scope, memory):
            return fault
    return None


def _object(status: int, wanted: int, content: bytes | None) -> tuple[dict[str, Any], str | None]:
    if status != wanted:
        return {}, f"status {status}" if status else "no answer"
    try:
        body = json.loads(content or b"")
    except ValueError:
        return {}, "the answer is not JSON"
    if not isinstance(body, dict):
        return {}, "the answer is not a JSON object"
    return body, None


def _difference(asked: Mapping[str, str], memory: Mapping[str, Any]) -> str | None:
    wrong = [name for name, value in asked.items() if memory.get(name) != value]
    return f"{', '.join(wrong)} differs from what was asked" if wrong else None
