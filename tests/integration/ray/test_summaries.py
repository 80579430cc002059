"""Summaries on the running service: made by the command, read and restored over REST."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from tests.support.ray.service import Service


def summarise(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serve_app.cli", "summarise", "--url", service.url]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


async def search(client: httpx2.AsyncClient, agent: str, query: str, **fields: Any) -> list[Any]:
    body = {"agent_id": agent, "user_id": "u", "query": query, "alpha": 1.0, **fields}
    answer = await client.post("/v1/memories/search", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


async def test_scope_is_condensed_searched_and_restored(
    service: Service, client: httpx2.AsyncClient
) -> None:
    agent = "has much to tell"
    contents = [f"On day {n} the user watered {n} plants in the garden." for n in range(7)]
    contents.insert(1, "The alarm code of the summer house is the birthday of Wilhelmina.")
    memories = [
        {
            "agent_id": agent,
            "user_id": "u",
            "content": content,
            "created_at": f"2025-01-01T00:{n:02}:00Z",
        }
        for n, content in enumerate(contents)
    ]
    answer = await client.post("/v1/memories/batch", json={"memories": memories})
    assert answer.status_code == 201
    result = summarise(service, "--agent", agent)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "memex: 3 memories condensed into 1 summary\n"
    query = {"agent_id": agent, "user_id": "u"}
    assert (await client.get("/v1/memories/count", params=query)).json()["count"] == 6
    hit, *_ = await search(client, agent, "what opens the summer house?")
    assert hit["metadata"]["summary"]["memories"] == 3
    assert "Wilhelmina" in hit["content"]
    hit, *_ = await search(client, agent, "what opens the summer house?", include_superseded=True)
    assert hit["content"] == contents[1]
    url = f"/v1/memories/{hit['superseded_by']}"
    owner = {"agent_id": agent}
    sources = (await client.get(f"{url}/sources", params=owner)).json()["memories"]
    assert [source["content"] for source in sources] == contents[:3]
    assert (await client.post(f"{url}/restore", params=owner)).status_code == 200
    assert (await client.get("/v1/memories/count", params=query)).json()["count"] == 8
    result = summarise(service, "--agent", agent)
    assert result.stdout == "memex: 0 memories condensed into 0 summaries\n"


def test_summarise_errors_are_one_line(service: Service, tmp_path: Path) -> None:
    result = summarise(service, "--user", "u")
    assert result.returncode == 1
    assert result.stderr.endswith("user_id: needs agent_id\n")
    assert result.stderr.count("\n") == 1
    stopped = Service(tmp_path)
    result = summarise(stopped)
    assert result.returncode == 1
    assert result.stderr == (
        f"memex: the service at {stopped.url}/v1/summaries/run is not available right now\n"
    )
