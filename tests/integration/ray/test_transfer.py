"""Exports and imports through the running service: complete, or visibly incomplete."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from deployments.runtime.ids import uuid7
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.ray.service import Service
from tests.support.ray.waiting import until

COUNT = 2_000
SCOPE = {"agent_id": "exporter"}
JSONL = {"content-type": "application/x-ndjson"}


def lines_of(count: int, padding: int) -> list[str]:
    """Lines for an import; all have the same text, which is embedded once."""
    return [
        json.dumps(
            {
                "id": str(uuid7()),
                "user_id": f"user {n % 3}",
                "content": "the same text",
                "importance": n / count,
                "metadata": {"n": n, "padding": "x" * padding},
                "created_at": f"2024-01-01T00:{n % 60:02}:00Z",
                "updated_at": f"2024-02-01T00:00:00.{n:06}Z",
            }
        )
        for n in range(count)
    ]


LINES = lines_of(COUNT, 100)
BODY = "\n".join(LINES).encode()


@pytest.fixture
async def database(service: Service) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(EmbeddedPostgres(DataFolder(service.data_dir)).dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def stored(client: httpx2.AsyncClient) -> None:
    """The service has stored LINES for SCOPE's agent."""
    answers = await import_lines(client, BODY)
    end = answers[-1]
    assert (end["stored"] + end["already_there"], end["refused"]) == (COUNT, 0), answers


async def import_lines(client: httpx2.AsyncClient, body: Any, **scope: str) -> list[dict[str, Any]]:
    answer = await client.post(
        "/v1/memories/import", params=scope or SCOPE, content=body, headers=JSONL, timeout=120
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def export_lines(client: httpx2.AsyncClient, **scope: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/memories/export", params=scope or SCOPE, timeout=120)
    assert answer.status_code == 200, answer.text
    *lines, end = [json.loads(line) for line in answer.text.splitlines()]
    assert end == {"end": True, "memories": len(lines)}
    assert answer.headers["x-memex-memories"] == str(len(lines))
    return lines


def transactions(database: asyncpg.Connection, count: int) -> Callable[[], Any]:
    """A condition: `count` exports hold a transaction while they wait for their readers."""

    async def condition() -> bool:
        found = await database.fetchval(
            "select count(*) from pg_stat_activity where state = 'idle in transaction'"
        )
        return bool(found == count)

    return condition


@pytest.mark.usefixtures("stored")
async def test_exported_memories_are_imported_unchanged(client: httpx2.AsyncClient) -> None:
    before = await export_lines(client)
    assert {line["id"] for line in before} == {json.loads(line)["id"] for line in LINES}
    times = [line["created_at"] for line in before]
    assert times == sorted(times, reverse=True)
    one = await export_lines(client, **SCOPE, user_id="user 1")
    assert one == [line for line in before if line["user_id"] == "user 1"]

    body = (await client.get("/v1/memories/export", params=SCOPE, timeout=120)).content
    (again,) = await import_lines(client, body)
    assert again == {
        "stored": 0, "already_there": COUNT, "expired": 0, "refused": 0, "whole": True,
    }  # fmt: skip
    *refused, end = await import_lines(client, body, agent_id="another")
    assert refused[0] == {"line": 1, "reason": "id: is taken"}
    assert (len(refused), end["refused"], end["stored"]) == (COUNT, COUNT, 0)

    for n in range(3):
        await client.delete("/v1/memories", params={**SCOPE, "user_id": f"user {n}"})
    assert await export_lines(client) == []
    lines = body.split(b"\n")
    lines[500] = lines[500][:-10]
    (broken, end) = await import_lines(client, b"\n".join(lines))
    assert broken["line"] == 501
    assert "not JSON" in broken["reason"]
    assert (end["stored"], end["refused"], end["whole"]) == (COUNT - 1, 1, True)
    (end,) = await import_lines(client, body)
    assert (end["stored"], end["already_there"]) == (1, COUNT - 1)
    assert await export_lines(client) == before


async def test_export_is_a_snapshot_and_ends_its_transaction(
    client: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    scope = {"agent_id": "heavy"}
    count = 4_500  # 68 MB: more than the sockets between store and reader buffer
    await import_lines(client, "\n".join(lines_of(count, 15_000)).encode(), **scope)
    before = await export_lines(client, **scope)
    async with AsyncExitStack() as stack:
        answers = [
            await stack.enter_async_context(
                client.stream("GET", "/v1/memories/export", params=scope, timeout=120)
            )
            for _ in range(2)
        ]
        # The store waits for readers that take nothing, so its transactions stay open.
        await asyncio.sleep(1)
        assert await transactions(database, 2)()
        refused = await client.get("/v1/memories/export", params=scope)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1

        last = f"/v1/memories/{before[-1]['id']}"
        await client.patch(last, params=scope, json={"importance": 2.0})
        await client.delete(f"/v1/memories/{before[-2]['id']}", params=scope)
        body = {**scope, "user_id": "u", "content": "x", "created_at": "2023-01-01T00:00:00Z"}
        written = (await client.post("/v1/memories", json=body)).json()
        text = (await answers[0].aread()).decode()
        *lines, end = [json.loads(line) for line in text.splitlines()]
        assert (lines, end) == (before, {"end": True, "memories": count})
        await until(transactions(database, 1), 5)
        # The second reader disconnects in the middle.
        await answers[1].aclose()
        await until(transactions(database, 0), 5)
    after = await export_lines(client, **scope)
    assert written["id"] == after[-1]["id"]
    assert len(after) == count


async def test_import_stops_reading_while_embedding_waits(
    service: Service, client: httpx2.AsyncClient
) -> None:
    """The memory in use does not depend on how fast the client sends."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        new = json.dumps({"id": str(uuid7()), "user_id": "u", "content": "never embedded yet"})
        yield f"{new}\n".encode() * 200
        while True:
            yield b" " * 65_535 + b"\n"
            sent += 65_536

    embedders = service.replicas("Embedder")
    for process in embedders:
        process.suspend()
    try:
        sending = asyncio.create_task(import_lines(client, body(), agent_id="waiting"))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(1)
            assert sent < 64 * 1024 * 1024
        assert before > 0
        sending.cancel()
        await asyncio.wait([sending])
    finally:
        for process in embedders:
            process.resume()


@pytest.mark.usefixtures("stored")
async def test_export_and_import_commands(
    service: Service, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    def memex(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "serve_app.cli", *arguments],
            env={**os.environ, **service.settings},
            capture_output=True,
            text=True,
            timeout=120,
        )

    file = tmp_path / "memories.jsonl"
    result = await asyncio.to_thread(memex, "export", str(file), "--agent", "exporter")
    assert (result.returncode, result.stdout) == (0, "")
    assert f"exported {COUNT:,} memories to {file}" in result.stderr
    assert os.listdir(tmp_path) == [file.name]
    *lines, end = file.read_text().splitlines()
    assert [json.loads(line) for line in lines] == await export_lines(client)

    changed = {**json.loads(lines[0]), "id": str(uuid7())}
    text = "\n".join([*lines[:1_500], "{}", json.dumps(changed), *lines[1_500:], end])
    file.write_text(text)
    result = await asyncio.to_thread(memex, "import", str(file), "--agent", "exporter")
    assert result.returncode == 1
    assert f"imported 1 memories, {COUNT:,} existed already" in result.stdout
    first, second = result.stderr.splitlines()
    assert "line 1501: id: Field required" in first
    assert f"line {COUNT + 3}: the export that ends here has {COUNT} memories" in second
    await client.delete(f"/v1/memories/{changed['id']}", params=SCOPE)
