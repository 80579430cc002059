"""Calls of the REST API, and the check of a problem answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

MEMORY: dict[str, Any] = {"agent_id": "a", "user_id": "u", "content": "likes green tea"}
SEARCH: dict[str, Any] = {"agent_id": "a", "user_id": "u", "query": "tea"}
FUTURE = (datetime.now(UTC) + timedelta(hours=2)).isoformat()  # tests may run much later


async def add(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/memories", json={**MEMORY, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def assert_problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = dict(answer.json())
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem
