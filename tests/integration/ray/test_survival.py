"""What the running service survives: large requests, and processes that die."""

import asyncio
import contextlib
import itertools
import time
from typing import Any

import httpx2
import psutil

from tests.support.ray.calls import memory, search
from tests.support.ray.service import Service
from tests.support.ray.waiting import until


async def test_largest_answers_are_returned(client: httpx2.AsyncClient, agent: str) -> None:
    heavy = memory(agent, "x", metadata={"a": "ü" * 8_000})
    for n in range(2):
        entries = [{**heavy, "content": f"{n} {m}"} for m in range(60)]
        answer = await client.post("/v1/memories/batch", json={"memories": entries})
        assert answer.status_code == 201, answer.text[:300]
    entries = [memory(agent, "🙂" * 8_000) for _ in range(25)]
    for _ in range(4):
        answer = await client.post("/v1/memories/batch", json={"memories": entries}, timeout=120)
        assert answer.status_code == 201, answer.text[:300]
    page = await client.get("/v1/memories", params={"agent_id": agent, "limit": "200"})
    assert page.status_code == 200
    assert len(page.json()["memories"]) == 200
    assert len(page.content) > 4 * 1024 * 1024


async def test_batch_of_the_largest_texts_succeeds_without_blocking_others(
    client: httpx2.AsyncClient, agent: str
) -> None:
    # 1 MB, half a million tokens; all different, because identical texts are embedded once.
    entries = [memory(agent, f"{n} " + "a " * 3_990) for n in range(128)]
    large = asyncio.create_task(
        client.post("/v1/memories/batch", json={"memories": entries}, timeout=300)
    )
    await asyncio.sleep(1)
    waited: list[float] = []
    while not large.done():
        started = time.monotonic()
        await search(client, agent, "anything")
        waited.append(time.monotonic() - started)
    assert (await large).status_code == 201
    assert len(waited) >= 3  # other calls were answered while the batch was under way


async def test_service_survives_a_dead_embedder(
    service: Service, client: httpx2.AsyncClient, agent: str
) -> None:
    codes = await _while_killing(service, "Embedder", client, agent)
    assert set(codes) <= {200, 201, 503}
    assert codes.count(200) + codes.count(201) >= len(codes) / 2


async def test_confirmed_writes_survive_dead_replicas(
    service: Service, client: httpx2.AsyncClient, agent: str
) -> None:
    for deployment in ("MemoryStore", "RestIngress"):
        codes = await _while_killing(service, deployment, client, agent)
        assert set(codes) <= {200, 201, 503, 0}, deployment


async def _while_killing(
    service: Service, deployment: str, client: httpx2.AsyncClient, agent: str
) -> list[int]:
    """The status codes under load while a replica is killed; 0 is a broken connection.

    Checks that each confirmed write is stored once.
    """
    confirmed: list[str] = []
    codes: list[int] = []
    end_at = time.monotonic() + 12

    async def caller(number: int) -> None:
        for n in itertools.count():
            if time.monotonic() > end_at:
                return
            content = f"{deployment} {number} {n}"
            try:
                answer = await client.post("/v1/memories", json=memory(agent, content))
            except httpx2.TransportError:
                codes.append(0)
                continue
            codes.append(answer.status_code)
            if answer.status_code == 201:
                confirmed.append(content)
            else:
                assert "Traceback" not in answer.text
                await asyncio.sleep(0.2)

    callers = [asyncio.create_task(caller(n)) for n in range(8)]
    await asyncio.sleep(2)
    (victim,) = service.replicas(deployment)[:1]
    victim.kill()
    await asyncio.gather(*callers)
    await until(lambda: healthy(client), 60)
    assert len(confirmed) > 20
    stored = [entry["content"] for entry in await all_memories(client, agent)]
    assert len(stored) == len(set(stored))
    assert set(confirmed) <= set(stored)
    return codes


async def all_memories(client: httpx2.AsyncClient, agent: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params = {"agent_id": agent, "limit": "200"}
    while True:
        page = (await client.get("/v1/memories", params=params)).json()
        found += page["memories"]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_stopped_postgres_gives_503_until_it_restarts(
    service: Service, client: httpx2.AsyncClient, agent: str
) -> None:
    stored = (await client.post("/v1/memories", json=memory(agent, "kept"))).json()
    postmaster = min(service.processes_named("postgres"), key=lambda process: process.create_time())
    postmaster.suspend()  # so that the launcher does not start it again yet
    children = [p for p in service.processes_named("postgres") if p != postmaster]
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    answer = await client.post("/v1/memories", json=memory(agent, "lost"), timeout=60)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    health = await client.get("/health")
    assert health.status_code == 503
    assert health.json()["db"] == "down"
    postmaster.kill()
    await until(lambda: healthy(client), 60)
    read = await client.get(f"/v1/memories/{stored['id']}", params={"agent_id": agent})
    assert read.json() == stored


async def healthy(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == 200
    except httpx2.TransportError:
        return False
