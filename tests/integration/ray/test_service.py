"""The running service from outside: the real graph, model and database."""

import asyncio
import functools
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx2
import pytest

from serve_app.rest.routes import OPERATIONS
from tests.support.ray.calls import memory, search
from tests.support.ray.service import Service, listening_addresses


async def test_search_finds_by_meaning(client: httpx2.AsyncClient, agent: str) -> None:
    contents = [
        "The user prefers dark mode in every editor.",
        "Deployments happen on Tuesdays after the backup.",
        "Her daughter is allergic to peanuts.",
    ]
    entries = [memory(agent, content) for content in contents]
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    assert answer.status_code == 201
    for query, expected in zip(
        ["which colour theme do they like?", "when do we release?", "food to avoid"],
        contents,
        strict=True,
    ):
        assert (await search(client, agent, query))[0]["content"] == expected


async def test_memory_is_stored_changed_found_and_deleted(
    client: httpx2.AsyncClient, agent: str
) -> None:
    created = (await client.post("/v1/memories", json=memory(agent, "first"))).json()
    url, owner = f"/v1/memories/{created['id']}", {"agent_id": agent}
    assert UUID(created["id"]).version == 7
    assert (await client.get(url, params=owner)).json() == created
    patched = await client.patch(url, params=owner, json={"content": "She plays the violin."})
    assert patched.status_code == 200
    (hit,) = await search(client, agent, "musical instrument", alpha=1.0)
    assert (hit["id"], hit["content"]) == (created["id"], "She plays the violin.")
    assert hit["score"] > 0.3
    assert (await client.delete(url, params=owner)).status_code == 204
    assert (await client.delete(url, params=owner)).status_code == 404
    assert await search(client, agent, "musical instrument") == []


async def test_changes_under_a_key_and_a_condition(client: httpx2.AsyncClient, agent: str) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    body, key = {**memory(agent, "brief"), "expires_at": soon}, {"Idempotency-Key": "brief"}
    brief = await client.post("/v1/memories", json=body, headers=key)
    created = await client.post("/v1/memories", json=memory(agent, "first"))
    url, owner = f"/v1/memories/{created.json()['id']}", {"agent_id": agent}
    seen = {"If-Match": created.headers["etag"]}
    results = await asyncio.gather(
        *(
            client.patch(url, params=owner, json={"content": f"by {n}"}, headers=seen)
            for n in range(10)
        )
    )
    assert sorted(result.status_code for result in results) == [200] + [412] * 9
    (changed,) = [result for result in results if result.status_code == 200]
    known = {"If-None-Match": changed.headers["etag"]}
    assert (await client.get(url, params=owner, headers=known)).status_code == 304
    deletion = {"Idempotency-Key": "delete", "If-Match": changed.headers["etag"]}
    for _ in range(2):
        assert (await client.delete(url, params=owner, headers=deletion)).status_code == 204
    await asyncio.sleep(1)
    again = await client.post("/v1/memories", json=body, headers=key)
    assert (again.status_code, again.json()) == (201, brief.json())


async def test_search_as_of_a_time_before_a_change_finds_the_version_of_then(
    client: httpx2.AsyncClient, agent: str
) -> None:
    content = "The meeting is in room Cedar."
    created = (await client.post("/v1/memories", json=memory(agent, content))).json()
    await client.post("/v1/memories", json=memory(agent, "Lunch is at noon."))
    then = datetime.now(UTC).isoformat()
    changed = {"content": "Lunch is in the garden."}
    url = f"/v1/memories/{created['id']}"
    await client.patch(url, params={"agent_id": agent}, json=changed)
    for text in ("meeting room", "Cedar", "where do we meet?"):
        best, *_ = await search(client, agent, text, alpha=1.0, as_of=then)
        assert (best["id"], best["content"]) == (created["id"], content)
    now = await search(client, agent, "meeting room", alpha=1.0)
    assert content not in [hit["content"] for hit in now]


async def test_end_of_a_long_memory_is_searched(client: httpx2.AsyncClient, agent: str) -> None:
    filler = "Nothing of note happened in the office today. " * 100
    content = (filler + "The vault opens with the name of a Rilke poem. " * 60)[:8_000]
    await client.post("/v1/memories", json=memory(agent, content))
    await client.post("/v1/memories", json=memory(agent, filler[:8_000]))
    hits = await search(client, agent, "how does the vault open?", alpha=1.0)
    assert hits[0]["content"] == content


async def test_largest_batch_is_stored_in_order(client: httpx2.AsyncClient, agent: str) -> None:
    entries = [memory(agent, f"note {n}: " + "word " * (n % 60)) for n in range(256)]
    answer = await client.post("/v1/memories/batch", json={"memories": entries})
    assert answer.status_code == 201
    assert [entry["content"] for entry in answer.json()["memories"]] == [
        e["content"] for e in entries
    ]


async def test_no_route_reaches_another_scope(client: httpx2.AsyncClient, agent: str) -> None:
    mine = (
        await client.post("/v1/memories", json=memory(agent, "the hidden word is xylophone"))
    ).json()
    other_agents = [agent + "x", agent.upper(), "%", "_", "' or '1'='1", agent + "\u0301"]
    checked = 0
    for other in other_agents:
        for operation in OPERATIONS:
            if operation.handler.__name__ in ("add", "add_batch"):
                continue
            path = operation.path.format(memory_id=mine["id"], agent_id=quote(other, safe=""))
            fields = {} if operation.query is None else operation.query.model_fields
            params: dict[str, Any] = {"agent_id": other} if "agent_id" in fields else {}
            if operation.handler.__name__ == "forget":
                params["user_id"] = "user"
            body: dict[str, Any] | None = (
                {"importance": 0.0} if operation.method == "PATCH" else None
            )
            if operation.handler.__name__ == "search":
                body = {"agent_id": other, "user_id": "user", "query": "xylophone"}
            if operation.handler.__name__ == "import_memories":
                line = json.dumps({"id": mine["id"], "user_id": "user", "content": "stolen"})
                jsonl = {"content-type": "application/x-ndjson"}
                answer = await client.post(path, params=params, content=line, headers=jsonl)
            else:
                answer = await client.request(operation.method, path, params=params, json=body)
            assert answer.status_code in (200, 404), answer.text
            assert "xylophone" not in answer.text.replace('"query":"xylophone"', "")
            checked += 1
    assert checked == len(other_agents) * (len(OPERATIONS) - 2)
    stored = await client.get(f"/v1/memories/{mine['id']}", params={"agent_id": agent})
    assert stored.json() == mine
    assert await search(client, agent, "xylophone", user_id="someone else") == []


async def test_many_concurrent_callers_are_answered(client: httpx2.AsyncClient, agent: str) -> None:
    async def one(n: int) -> int:
        if n % 4 == 0:
            answer = await client.post("/v1/memories", json=memory(agent, f"memory number {n}"))
        else:
            body = {"agent_id": agent, "user_id": "user", "query": f"number {n}"}
            answer = await client.post("/v1/memories/search", json=body)
        return answer.status_code

    codes = await asyncio.gather(*(one(n) for n in range(200)))
    assert (codes.count(201), codes.count(200)) == (50, 150)
    count = await client.get("/v1/memories/count", params={"agent_id": agent, "user_id": "user"})
    assert count.json()["count"] == 50


async def test_errors_keep_their_status(client: httpx2.AsyncClient, agent: str) -> None:
    for body in (b'{"a', b'{"agent_id":"a","user_id":"u","content":"\\ud800"}'):
        answer = await client.post(
            "/v1/memories", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    refused = await client.get("/v1/agents", headers={"host": "evil.example"})
    assert refused.status_code == 421


async def test_reindex_while_the_service_runs(
    service: Service, client: httpx2.AsyncClient, agent: str
) -> None:
    scope = {"agent_id": agent, "user_id": "u"}
    await client.post("/v1/memories", json={**scope, "content": "error ERR_4032 again"})
    command = [sys.executable, "-m", "serve_app.cli", "reindex"]
    environment = {**os.environ, **service.settings}
    run = functools.partial(subprocess.run, command, capture_output=True, text=True, timeout=60)
    result = await asyncio.to_thread(run, env=environment)
    assert result.returncode == 0, result.stderr
    search = {**scope, "query": "err_4032", "mode": "lexical", "alpha": 1, "explain": True}
    answer = (await client.post("/v1/memories/search", json=search)).json()
    assert answer["results"][0]["explanation"]["matched_terms"] == ["err_4032", "err", "4032"]
    other = {**environment, "MEMEX_SEARCH_LANGUAGE": "german"}
    refused = await asyncio.to_thread(run, env=other)
    assert refused.returncode == 1
    assert "memex: MEMEX_SEARCH_LANGUAGE" in refused.stderr


async def test_docs_are_served(client: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/docs-assets/swagger-ui.css"):
        assert (await client.get(path)).status_code == 200


def test_http_listens_only_on_loopback(service: Service) -> None:
    haproxy, ingress = service.processes_named("haproxy"), service.replicas("RestIngress")
    assert haproxy
    assert ingress
    for process in haproxy:
        assert {host for host, _ in listening_addresses([process])} == {"127.0.0.1"}
    local_ports = {port for host, port in listening_addresses(ingress) if host == "127.0.0.1"}
    assert [
        port for port in local_ports if httpx2.get(f"http://127.0.0.1:{port}/health").is_success
    ]
    other_ports = {port for host, port in listening_addresses(ingress) if host != "127.0.0.1"}
    for port in other_ports:  # Ray's gRPC, which requires the token and does not answer HTTP/1
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"http://127.0.0.1:{port}/health")
