"""Export and import over in-memory parts: what is written, what is taken, what is refused."""

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
from tests.support.jsonl_calls import A, body, exported, imported, line


def test_what_is_exported_is_what_is_imported() -> None:
    """A new field of memories goes into both, or says here why not."""
    fields = {field.name for field in dataclasses.fields(Memory)}
    assert set(MemoryLine.model_fields) == fields - NOT_EXPORTED


async def test_an_export_has_every_field(client: httpx2.AsyncClient) -> None:
    full = line(
        importance=0.5, memory_type="procedural", metadata={"a": [1, {"b": "ü\n"}]},
        created_at="2020-02-29T10:00:00.123456Z", updated_at="2021-01-01T00:00:00Z",
        expires_at=(datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z"),
        superseded_by=None,
    )  # fmt: skip
    assert await imported(client, body(full)) == (
        [], {"stored": 1, "already_there": 0, "expired": 0, "refused": 0, "whole": False},
    )  # fmt: skip
    assert await exported(client) == [full]
    got = await client.get(f"/v1/memories/{full['id']}", params=A)
    assert got.json()["updated_at"] == full["updated_at"]


async def test_a_source_comes_after_its_summary(client: httpx2.AsyncClient) -> None:
    summary, missing = line(memory_type="semantic"), line()
    source = line(superseded_by=summary["id"])
    orphan = line(superseded_by=missing["id"])
    refused, result = await imported(client, body(summary, source, orphan))
    assert result | {"stored": 2, "refused": 1} == result
    assert [entry["line"] for entry in refused] == [3]
    assert "superseded_by" in refused[0]["reason"]
    params = {**A, "user_id": source["user_id"]}
    counted = (await client.get("/v1/memories/count", params=params)).json()
    assert counted["count"] == 1


async def test_exports_are_of_a_user_or_of_all(client: httpx2.AsyncClient) -> None:
    lines = [line(user_id=f"u{n % 2}", content=f"m {n}") for n in range(8)]
    await imported(client, body(*lines))
    await imported(client, body(line()), agent="another")
    assert len(await exported(client)) == 8
    assert {entry["user_id"] for entry in await exported(client, user_id="u1")} == {"u1"}
    assert await exported(client, user_id="nobody") == []


async def test_the_head_of_an_export_says_how_many(
    client: httpx2.AsyncClient, store: InMemoryStore
) -> None:
    await imported(client, body(line(), line()))
    head = await client.head("/v1/memories/export", params=A)
    assert (head.status_code, head.headers["x-memex-memories"]) == (200, "2")
    assert "content-length" not in head.headers


@pytest.mark.parametrize("error", [TooManyExports(2), Unavailable("database")])
async def test_what_fails_before_the_first_page_has_a_status(
    client: httpx2.AsyncClient,
    store: InMemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    async def export(_agent: str, _user: str | None) -> AsyncGenerator[ExportPage, None]:
        raise error
        yield

    monkeypatch.setattr(store.transfers, "export", export)
    answer = await client.get("/v1/memories/export", params=A)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["detail"] == str(error)


async def test_an_export_that_breaks_off_has_no_end(
    client: httpx2.AsyncClient, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await imported(client, body(*(line() for _ in range(7))))
    whole, is_closed = store.transfers.export, False

    async def export(agent: str, user: str | None) -> AsyncGenerator[ExportPage, None]:
        nonlocal is_closed
        try:
            yield await anext(whole(agent, user))
            raise Unavailable("database")
        finally:
            is_closed = True

    monkeypatch.setattr(store.transfers, "export", export)
    sent = await answered(client, "/v1/memories/export")
    text = b"".join(message.get("body", b"") for message in sent).decode()
    assert len(text.splitlines()) == 3
    assert '"end"' not in text
    assert sent[-1]["more_body"]  # the server closes the connection then
    assert is_closed


async def test_a_reader_that_hangs_up_ends_its_export(
    client: httpx2.AsyncClient, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await imported(client, body(*(line() for _ in range(7))))
    closed, pages = asyncio.Event(), store.transfers.export

    async def export(agent: str, user: str | None) -> AsyncGenerator[ExportPage, None]:
        try:
            async for page in pages(agent, user):
                yield page
        finally:
            closed.set()

    monkeypatch.setattr(store.transfers, "export", export)
    reading = asyncio.create_task(answered(client, "/v1/memories/export", stalls=True))
    await asyncio.sleep(0.01)
    assert not closed.is_set()
    reading.cancel()
    await asyncio.wait([reading])
    assert closed.is_set()


async def answered(
    client: httpx2.AsyncClient, path: str, stalls: bool = False
) -> list[dict[str, Any]]:
    """The messages of an answer whose client never goes away, and may take no second one."""
    transport = client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError("nobody hung up")

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
