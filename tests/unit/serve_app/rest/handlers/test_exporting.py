"""Exports and imports over in-memory nodes: what is written, stored and refused."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from deployments.domain.errors import TooManyExports, Unavailable
from deployments.domain.memories import ExportPage, Memory
from serve_app.rest.handlers.exporting import NOT_EXPORTED
from serve_app.rest.schemas.lines import MemoryLine
from tests.support.fakes.store import InMemoryStore
from tests.support.jsonl_calls import AGENT, body, export_lines, import_lines, line


def test_exported_and_imported_fields_match() -> None:
    """A new field of memories goes into both, or into `NOT_EXPORTED`."""
    fields = {field.name for field in dataclasses.fields(Memory)}
    assert set(MemoryLine.model_fields) == fields - NOT_EXPORTED


async def test_export_has_every_field(client: httpx2.AsyncClient) -> None:
    full = line(
        importance=0.5, memory_type="procedural", metadata={"a": [1, {"b": "ü\n"}]},
        created_at="2020-02-29T10:00:00.123456Z", updated_at="2021-01-01T00:00:00Z",
        expires_at=(datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z"),
        superseded_by=None,
    )  # fmt: skip
    assert await import_lines(client, body(full)) == (
        [], {"stored": 1, "already_there": 0, "expired": 0, "refused": 0, "whole": False},
    )  # fmt: skip
    assert await export_lines(client) == [full]
    got = await client.get(f"/v1/memories/{full['id']}", params=AGENT)
    assert got.json()["updated_at"] == full["updated_at"]


async def test_source_is_imported_only_after_its_summary(client: httpx2.AsyncClient) -> None:
    summary, missing = line(memory_type="semantic"), line()
    source = line(superseded_by=summary["id"])
    orphan = line(superseded_by=missing["id"])
    refused, result = await import_lines(client, body(summary, source, orphan))
    assert result | {"stored": 2, "refused": 1} == result
    assert [entry["line"] for entry in refused] == [3]
    assert "superseded_by" in refused[0]["reason"]
    params = {**AGENT, "user_id": source["user_id"]}
    counted = (await client.get("/v1/memories/count", params=params)).json()
    assert counted["count"] == 1


async def test_export_covers_one_user_or_all(client: httpx2.AsyncClient) -> None:
    lines = [line(user_id=f"u{n % 2}", content=f"m {n}") for n in range(8)]
    await import_lines(client, body(*lines))
    await import_lines(client, body(line()), agent="another")
    assert len(await export_lines(client)) == 8
    assert {entry["user_id"] for entry in await export_lines(client, user_id="u1")} == {"u1"}
    assert await export_lines(client, user_id="nobody") == []


async def test_head_request_counts_the_memories(
    client: httpx2.AsyncClient, store: InMemoryStore
) -> None:
    await import_lines(client, body(line(), line()))
    head = await client.head("/v1/memories/export", params=AGENT)
    assert (head.status_code, head.headers["x-memex-memories"]) == (200, "2")
    assert "content-length" not in head.headers


@pytest.mark.parametrize("error", [TooManyExports(2), Unavailable("database")])
async def test_failure_before_the_first_page_has_a_status(
    client: httpx2.AsyncClient,
    store: InMemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    async def export(_agent: str, _user: str | None) -> AsyncGenerator[ExportPage, None]:
        raise error
        yield

    monkeypatch.setattr(store.transfers, "export", export)
    answer = await client.get("/v1/memories/export", params=AGENT)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["detail"] == str(error)


async def test_interrupted_export_has_no_end_line(
    client: httpx2.AsyncClient, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_lines(client, body(*(line() for _ in range(7))))
    complete_export, is_closed = store.transfers.export, False

    async def export(agent: str, user: str | None) -> AsyncGenerator[ExportPage, None]:
        nonlocal is_closed
        try:
            yield await anext(complete_export(agent, user))
            raise Unavailable("database")
        finally:
            is_closed = True

    monkeypatch.setattr(store.transfers, "export", export)
    sent = await messages_of(client, "/v1/memories/export")
    text = b"".join(message.get("body", b"") for message in sent).decode()
    assert len(text.splitlines()) == 3
    assert '"end"' not in text
    assert sent[-1]["more_body"]  # so the server closes the connection
    assert is_closed


async def test_client_disconnect_ends_the_export(
    client: httpx2.AsyncClient, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_lines(client, body(*(line() for _ in range(7))))
    closed, pages = asyncio.Event(), store.transfers.export

    async def export(agent: str, user: str | None) -> AsyncGenerator[ExportPage, None]:
        try:
            async for page in pages(agent, user):
                yield page
        finally:
            closed.set()

    monkeypatch.setattr(store.transfers, "export", export)
    reading = asyncio.create_task(messages_of(client, "/v1/memories/export", stalls=True))
    await asyncio.sleep(0.01)
    assert not closed.is_set()
    reading.cancel()
    await asyncio.wait([reading])
    assert closed.is_set()


async def messages_of(
    client: httpx2.AsyncClient, path: str, stalls: bool = False
) -> list[dict[str, Any]]:
    """The ASGI messages of an answer to a client that never disconnects.

    If `stalls`, the client stops reading after two messages.
    """
    transport = client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError("the client did not disconnect")

    async def send(message: Any) -> None:
        if stalls and len(sent) == 2:
            await asyncio.sleep(60)
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"agent_id=a", "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    await transport.app(scope, receive, send)
    return sent
