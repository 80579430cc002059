"""Calls of the export and import routes."""

import json
from typing import Any
from uuid import uuid4

import httpx2

JSONL = {"content-type": "application/x-ndjson"}
AGENT = {"agent_id": "a"}


def line(**fields: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "user_id": "u", "content": "likes green tea", **fields}


def body(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def import_lines(
    client: httpx2.AsyncClient, content: Any, agent: str = "a"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The refused lines, and the counts of the last line."""
    answer = await client.post(
        "/v1/memories/import", params={"agent_id": agent}, content=content, headers=JSONL
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *refused, end = [json.loads(line) for line in answer.text.splitlines()]
    return refused, end


async def export_lines(client: httpx2.AsyncClient, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/memories/export", params={**AGENT, **params})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *lines, end = [json.loads(line) for line in answer.text.splitlines()]
    assert end == {"end": True, "memories": len(lines)}
    assert answer.headers["x-memex-memories"] == str(len(lines))
    return lines
