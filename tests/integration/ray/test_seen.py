"""Observing a running service: its logs, its traces, `memex doctor`, `memex status`."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from mcp import Client
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.ray.collector import Collector
from tests.support.ray.service import Service
from tests.support.ray.waiting import until

SCOPE = {"agent_id": "an-agent", "user_id": "a-user"}
HEADER = "X-Request-ID"
HIDDEN = "xylophone-in-the-attic"
SEARCH = "POST /v1/memories/search"


@pytest.fixture(scope="module")
def service(watched_service: Service) -> Service:
    return watched_service


@pytest.fixture
async def database(service: Service) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(EmbeddedPostgres(DataFolder(service.data_dir)).dsn)
    yield connection
    await connection.close()


async def search(client: httpx2.AsyncClient, query: str, **headers: str) -> httpx2.Response:
    return await client.post("/v1/memories/search", json={**SCOPE, "query": query}, headers=headers)


def trace_headers(trace_id: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}


async def test_search_is_one_trace_over_three_processes(
    client: httpx2.AsyncClient, collector: Collector
) -> None:
    trace_id = uuid.uuid4().hex
    assert (await search(client, "one trace", **trace_headers(trace_id))).status_code == 200
    names = [
        SEARCH,
        "embedder.embed_each",
        "Embedder.embed_each",
        "store.search_each",
        "MemoryStore.search_each",
    ]

    async def spans_arrived() -> bool:
        return all(collector.spans_named(name, bytes.fromhex(trace_id)) for name in names)

    await until(spans_arrived, 20)
    request, embed, embedding, store, storing = (
        collector.spans_named(name, bytes.fromhex(trace_id))[0] for name in names
    )
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert embed.parent_span_id == store.parent_span_id == request.span_id
    assert embedding.parent_span_id == embed.span_id
    assert storing.parent_span_id == store.span_id
    assert [link.span_id for link in store.links] == [request.span_id]


async def test_shared_call_links_to_its_requests(
    client: httpx2.AsyncClient, collector: Collector
) -> None:
    await asyncio.gather(*(search(client, f"query number {n}") for n in range(96)))
    linked: set[bytes] = set()

    async def spans_arrived() -> bool:
        requests = {span.span_id for span in collector.spans_named(SEARCH)}
        for call in collector.spans_named("store.search_each"):
            linked.update(link.span_id for link in call.links)
        return len(requests) >= 96 and requests <= linked

    await until(spans_arrived, 20)
    several = [call for call in collector.spans_named("store.search_each") if len(call.links) > 1]
    assert several
    for call in several:
        carried = {link.span_id for link in call.links}
        for request in collector.spans_named(SEARCH):
            if request.span_id in carried and request.span_id != call.parent_span_id:
                assert call.span_id in [link.span_id for link in request.links]


async def test_mcp_call_has_its_tool_span_as_parent(service: Service, collector: Collector) -> None:
    async with Client(f"{service.url}/mcp") as mcp:
        await mcp.call_tool("search_memories", {**SCOPE, "query": "over MCP"})

    async def spans_arrived() -> bool:
        for tool in collector.spans_named("tools/call search_memories"):
            of_tool = [span for span in collector.spans if span.parent_span_id == tool.span_id]
            http = [span for span in collector.spans if span.span_id == tool.parent_span_id]
            return [span.name for span in http] == ["POST /mcp"] and {
                span.name for span in of_tool
            } == {"embedder.embed_each", "store.search_each"}
        return False

    await until(spans_arrived, 20)


async def test_every_answer_has_the_request_id(
    service: Service, client: httpx2.AsyncClient
) -> None:
    large = {**SCOPE, "content": "x" * 40_000_000}
    answers = [
        await search(client, "x", **{HEADER: "mine"}),
        await client.post("/v1/memories", json={}, headers={HEADER: "mine"}),
        await client.get("/nowhere", headers={HEADER: "mine"}),
        await client.put("/v1/memories", headers={HEADER: "mine"}),
        await client.post("/v1/memories", json=large, headers={HEADER: "mine"}),
        await client.get("/mcp", headers={HEADER: "mine"}),
        await client.get("/docs", headers={HEADER: "mine", "host": "evil.example"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 404, 405, 413, 405, 421]
    for answer in answers:
        assert answer.headers.get_list(HEADER) == ["mine"]
    generated = {(await client.get("/health")).headers[HEADER] for _ in range(2)}
    assert len({uuid.UUID(request_id) for request_id in generated}) == 2


@pytest.mark.parametrize("value", [b"two words", b"\xff\xfe", b"x" * 129])
def test_invalid_request_id_is_replaced(service: Service, value: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(
            b"GET /docs HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: " + value + b"\r\n\r\n"
        )
        head = connection.recv(4096).split(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 200"), head
    (line,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-request-id:")]
    uuid.UUID(line.split(b":")[1].strip().decode())


async def test_fault_is_logged_by_ingress_and_store_without_the_memory(
    service: Service,
    client: httpx2.AsyncClient,
    database: asyncpg.Connection,
    collector: Collector,
) -> None:
    """Postgres quotes the row that it refuses, and the driver's error contains it."""
    await database.execute(
        f"alter table memories add constraint hidden check (content not like '%{HIDDEN}%')"
    )
    ids = [f"fault-{n}" for n in range(8)]
    try:
        answers = await asyncio.gather(
            *(
                client.post(
                    "/v1/memories",
                    json={**SCOPE, "content": f"{HIDDEN} {request_id}"},
                    headers={HEADER: request_id},
                )
                for request_id in ids
            )
        )
    finally:
        await database.execute("alter table memories drop constraint hidden")
    assert [answer.status_code for answer in answers] == [500] * 8
    assert [answer.headers[HEADER] for answer in answers] == ids
    assert not any(HIDDEN in answer.text for answer in answers)
    logged: dict[str, list[str]] = {}

    async def all_are_logged() -> bool:
        logged.clear()
        for line in lines(service):
            if line["levelname"] == "ERROR" and line.get("request_id"):
                for request_id in line["request_id"].split(", "):
                    logged.setdefault(line["deployment"], []).append(request_id)
        is_logged_by_store = len(set(logged.get("memex_MemoryStore", []))) == len(ids)
        return is_logged_by_store and len(logged.get("memex_RestIngress", [])) >= len(ids)

    await until(all_are_logged, 10)
    assert sorted(logged["memex_RestIngress"]) == ids  # once each
    assert set(logged["memex_MemoryStore"]) == set(ids)
    failed = [line for line in lines(service) if "insert_each failed" in line["message"]]
    assert failed
    assert all("SQLSTATE 23514" in line["exc_text"] for line in failed)
    assert logs_with(service, HIDDEN) == []
    assert any("hidden" in path.read_text() for path in service.data_dir.glob("logs/postgres.log"))

    async def error_span_arrived() -> bool:
        return any(
            span.status.code == Status.STATUS_CODE_ERROR
            for span in collector.spans_named("MemoryStore.insert_each")
        )

    await until(error_span_arrived, 20)
    assert HIDDEN not in "".join(str(span) for span in collector.spans)


async def test_unavailability_is_logged_and_successful_requests_are_not(
    service: Service, client: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    assert (await search(client, "all is well", **{HEADER: "good-1"})).status_code == 200
    async with database.transaction():
        await database.execute("lock table memories")  # statements wait until their timeout
        answer = await search(client, "all is well", **{HEADER: "away-1"})
    assert answer.status_code == 503

    async def both_have_logged() -> bool:
        found = [
            (line["deployment"], line["levelname"])
            for line in lines(service)
            if line.get("request_id") == "away-1"
        ]
        return sorted(found) == [("memex_MemoryStore", "WARNING"), ("memex_RestIngress", "WARNING")]

    await until(both_have_logged, 10)
    assert not [line for line in lines(service) if line.get("request_id") == "good-1"]


def test_doctor_passes_on_the_running_service(service: Service) -> None:
    result = memex(service, "doctor", "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, report["well"]) == (0, True), report
    states = {check["name"]: check["state"] for check in report["checks"]}
    names = ("Postgres", "pgvector", "migrations", "model", "memories", "Ray", "API")
    replicas = ("RestIngress", "McpIngress", "Embedder", "MemoryStore", "Summariser")
    assert dict.fromkeys((*names, *replicas), "ok").items() <= states.items()


async def test_doctor_reports_a_wrong_model_setting(
    service: Service, client: httpx2.AsyncClient
) -> None:
    await client.post("/v1/memories", json={**SCOPE, "content": "made by the int8 model"})
    result = await asyncio.to_thread(memex, service, "doctor", MEMEX_EMBEDDING_PRECISION="fp32")
    assert result.returncode == 1
    assert "→ unset MEMEX_EMBEDDING_MODEL and MEMEX_EMBEDDING_PRECISION" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


async def test_status_reports_the_running_service(
    service: Service, client: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    figures: dict[str, Any] = {}

    async def has_traffic_figures() -> bool:
        await search(client, "seen")
        result = await asyncio.to_thread(memex, service, "status", "--json", "--over", "2")
        assert result.returncode == 0, result.stderr
        figures.update(json.loads(result.stdout))
        return bool(figures["requests_per_s"]) and figures["p99_s"] is not None

    await until(has_traffic_figures, 60)
    assert figures["health"] == "ok"
    memories = await database.fetchval("select count(*) from memories")
    assert (figures["memories"], figures["memories_are_exact"]) == (memories, True)
    assert figures["deployments"]["MemoryStore"]["replicas"] == 1
    assert figures["deployments"]["Embedder"]["queued"] is not None
    assert 0 < figures["p99_s"] < 15


def memex(service: Service, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serve_app.cli", *command],
        env={**os.environ, **service.settings, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def lines(service: Service) -> list[dict[str, Any]]:
    """All replicas' log lines; each is JSON with a time, a level, a deployment and a replica."""
    found = []
    for path in service.data_dir.glob("ray/t/session_latest/logs/serve/replica_*.log"):
        for text in path.read_text().splitlines():
            line = json.loads(text)
            assert {"levelname", "deployment", "replica", "message"} <= line.keys(), line
            found.append(line)
    assert found
    assert all(line["time"].endswith("Z") for line in found if line.get("request_id"))
    return found


def logs_with(service: Service, words: str) -> list[Path]:
    folders = [service.data_dir / name for name in ("ray/t/session_latest/logs", "logs")]
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and words.encode() in path.read_bytes()
    ]
