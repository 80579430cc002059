"""What clients see that no ingress replica answers: while all are gone, too late, or unusual."""

import asyncio
import time

import httpx2
import pytest

from tests.support.ray.service import Service
from tests.support.ray.waiting import until
from tests.support.ray.watching import Watch
from tests.support.rest_calls import assert_problem


async def test_killed_ingresses_are_503_or_closed_connections_until_they_are_back(
    service: Service,
) -> None:
    with Watch(service.url).watching() as watch:

        async def all_answer_since(started_s: float) -> bool:
            statuses = watch.statuses(started_s)
            return all(
                any(200 <= status < 300 for status in statuses[path]) for path in watch.paths
            )

        started_s = time.monotonic()
        await until(lambda: all_answer_since(started_s), 20)
        victims = service.replicas("RestIngress") + service.replicas("McpIngress", "memex-mcp")
        assert len(victims) == 3
        for victim in victims:
            victim.kill()
        killed_s = time.monotonic()
        await until(lambda: all_answer_since(killed_s + 1), 50)
        back_s = time.monotonic()
        await until(lambda: all_answer_since(back_s), 20)
    assert watch.unexpected() == []
    # A request that waits for a replica may find one before it is refused.
    assert any(503 in statuses for statuses in watch.statuses(killed_s).values())


async def test_request_that_takes_longer_than_its_caller_allows_is_a_problem(
    client: httpx2.AsyncClient, agent: str
) -> None:
    entries = [{"agent_id": agent, "user_id": "u", "content": f"{n} " * 2_000} for n in range(8)]
    answer = await client.post(
        "/v1/memories/batch",
        json={"memories": entries},
        headers={"x-request-timeout-seconds": "0.01", "x-request-id": "mine"},
    )
    assert_problem(answer, 408)
    assert answer.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /health HTTP/1.0", 200),
        ("HEAD /health/ready HTTP/1.0", 200),
        ("GET /health/live HTTP/1.1\r\nHost: 10.244.0.5:8000", 200),
        ("GET /health/live HTTP/1.1\r\nHost: [fd00::5]:8000", 200),
        ("GET http://10.244.0.5:8000/health/live HTTP/1.1\r\nHost: 10.244.0.5:8000", 200),
        ("GET /docs HTTP/1.0", 421),
        ("GET /docs HTTP/1.1\r\nHost: 10.244.0.5:8000", 421),
        ("OPTIONS /health HTTP/1.1\r\nHost: localhost", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost", 400),
        ("ANA /v1/memories HTTP/1.1\r\nHost: localhost", 400),
        (
            "GET /v1/memories HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            403,
        ),
    ],
)
async def test_unusual_requests_have_usual_answers(
    service: Service, head: str, status: int
) -> None:
    end = "\r\nConnection: Upgrade\r\n\r\n" if status == 403 else "\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write((head + end).encode())
    answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    writer.close()
    assert int(answer.split()[1]) == status, answer
    media_type = "application/json" if status == 200 else "application/problem+json"
    assert f"content-type: {media_type}" in answer.lower()
    assert "x-request-id: " in answer.lower()
