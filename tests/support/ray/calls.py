"""Calls to a running service."""

from typing import Any

import httpx2


def memory(agent: str, content: str, user: str = "user", **fields: Any) -> dict[str, Any]:
    return {"agent_id": agent, "user_id": user, "content": content, **fields}


async def search(
    client: httpx2.AsyncClient, agent: str, query: str, **fields: Any
) -> list[dict[str, Any]]:
    body = {"agent_id": agent, "user_id": "user", "query": query, **fields}
    answer = await client.post("/v1/memories/search", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])
