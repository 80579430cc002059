"""Export and import over in-memory parts: what is written, what is taken, what is refused."""

import asyncio
import dataclasses
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from deployments.domain.errors import TooManyExports, Unavailable
from deployments.domain.memories import ExportPage, Memory
from serve_app.rest.handlers.exporting import NOT_EXPORTED
from serve_app.rest.handlers.importing import Import, _read_no_further_ahead
from serve_app.rest.schemas.lines import MemoryLine
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore

JSONL = {"content-type": "application/x-ndjson"}
A = {"agent_id": "a"}


def line(**fields: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "user_id": "u", "content": "likes green tea", **fields}


def body(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def imported(
    client: httpx2.AsyncClient, content: Any, agent: str = "a"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The refused lines and the last one."""
    answer = await client.post(
        "/v1/memories/import", params={"agent_id": agent}, content=content, headers=JSONL
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *refused, end = [json.loads(line) for line in answer.text.splitlines()]
    return refused, end


async def exported(client: httpx2.AsyncClient, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/memories/export", params={**A, **params})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *lines, end = [json.loads(line) for line in answer.text.splitlines()]
    assert end == {"end": True, "memories": len(lines)}
    assert answer.headers["x-memex-memories"] == str(len(lines))
    return lines


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


async def test_an_import_can_be_made_again(client: httpx2.AsyncClient) -> None:
    lines = [line(content=f"m {n}") for n in range(300)]
    whole = body(*lines) + b'{"end": true, "memories": 300}\n'
    _, end = await imported(client, whole)
    assert (end["stored"], end["already_there"], end["whole"]) == (300, 0, True)
    _, end = await imported(client, whole)
    assert (end["stored"], end["already_there"], end["whole"]) == (0, 300, True)
    assert len(await exported(client)) == 300


async def test_the_first_of_two_lines_with_one_id_counts(client: httpx2.AsyncClient) -> None:
    first = line(content="first")
    refused, end = await imported(client, body(first, {**first, "content": "second"}))
    assert (refused, end["stored"], end["already_there"]) == ([], 1, 1)
    assert [entry["content"] for entry in await exported(client)] == ["first"]


async def test_another_agents_id_is_refused_and_left_alone(client: httpx2.AsyncClient) -> None:
    mine = line(content="mine")
    await imported(client, body(mine))
    refused, end = await imported(client, body(line(), {**mine, "content": "x"}), agent="b")
    assert refused == [{"line": 2, "reason": "id: is taken"}]
    assert (end["stored"], end["refused"]) == (1, 1)
    assert [entry["content"] for entry in await exported(client)] == ["mine"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"nonsense", "the line is not JSON"),
        (b'{"id": ', "the line is not JSON"),
        (b"\xff\xfe", "the line is not JSON"),
        (b'{"content": NaN}', "the line is not JSON"),
        (b"[]", "body: "),
        (b"{}", "id: Field required; user_id: Field required; content: Field required"),
        ({"content": ""}, "content: "),
        ({"content": "x" * 8_001}, "content: "),
        ({"id": "7"}, "id: "),
        ({"importance": 3}, "importance: "),
        ({"agent_id": "a"}, "agent_id: "),
        ({"score": 1}, "score: "),
        ({"created_at": "2999-01-01T00:00:00Z"}, "created_at: is more than 5"),
        ({"updated_at": "2999-01-01T00:00:00Z"}, "updated_at: is more than 5"),
        ({"metadata": {"x": "y" * 16_384}}, "metadata: is "),
        (b'{"id": "' + b" " * 1_048_576 + b'"}', "the line is longer than 1048576 bytes"),
        (b'{"end": true, "memories": 5}', "the export that ends here has 5 memories, but 1 "),
    ],
)
async def test_a_bad_line_is_refused_by_number_and_the_others_are_stored(
    client: httpx2.AsyncClient, bad: bytes | dict[str, Any], reason: str
) -> None:
    bad_line = bad if isinstance(bad, bytes) else body(line(**bad)).strip()
    content = body(line()) + b"\r\n\n" + bad_line + b"\n" + body(line())
    refused, end = await imported(client, content)
    assert [entry["line"] for entry in refused] == [4]
    assert refused[0]["reason"].startswith(reason)
    assert len(refused[0]["reason"]) <= 500
    assert (end["stored"], end["refused"]) == (2, 1)
    assert len(await exported(client)) == 2


async def test_the_last_line_needs_no_end(client: httpx2.AsyncClient) -> None:
    _, end = await imported(client, body(line(), line()).strip())
    assert end["stored"] == 2
    refused, end = await imported(client, body(line())[:-5])
    assert (refused[0]["line"], end["stored"]) == (1, 0)


async def test_what_is_over_is_not_stored(client: httpx2.AsyncClient) -> None:
    _, end = await imported(client, body(line(expires_at="2024-01-01T00:00:00Z"), line()))
    assert (end["stored"], end["expired"], end["refused"]) == (1, 1, 0)


async def test_exports_may_stand_behind_one_another(client: httpx2.AsyncClient) -> None:
    end_of_one = {"end": True, "memories": 1}
    content = body(line(), end_of_one, line(), end_of_one)
    refused, end = await imported(client, content)
    assert (refused, end["stored"], end["whole"]) == ([], 2, True)
    _, end = await imported(client, content + body(line()))
    assert not end["whole"]


async def test_many_refused_lines_are_all_named(client: httpx2.AsyncClient) -> None:
    """More than are kept in memory."""
    refused, end = await imported(client, b"nonsense\n" * 5_000)
    assert [entry["line"] for entry in refused] == list(range(1, 5_001))
    assert end["refused"] == 5_000


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", ""])
async def test_an_import_says_what_it_is(client: httpx2.AsyncClient, media_type: str) -> None:
    answer = await client.post(
        "/v1/memories/import", params=A, content=b"{}", headers={"content-type": media_type}
    )
    assert answer.status_code == 415
    assert "application/x-ndjson" in answer.json()["detail"]


@pytest.mark.parametrize("limits", [(1, 0)])
async def test_an_import_is_one_write(client: httpx2.AsyncClient) -> None:
    content = body(*(line(content=f"m {n}") for n in range(400)))
    _, end = await imported(client, content)
    assert end["stored"] == 400
    _, end = await imported(client, content)  # stores nothing, and so is none
    assert end["already_there"] == 400
    answer = await client.post("/v1/memories/import", params=A, content=body(line()), headers=JSONL)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 50
    assert len(await exported(client)) == 400


async def test_what_is_there_is_not_embedded_again(
    client: httpx2.AsyncClient, embedder: FakeEmbedder
) -> None:
    content = body(line(), line())
    await imported(client, content)
    calls = len(embedder.calls)
    await imported(client, content + body(line(content="new")))
    assert embedder.calls[calls:] == [(["new"], "passage")]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_an_import_waits_for_a_part_that_is_away(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        embedder.down = len(waits) < 3

    service = MemoryService(embedder, store)
    await service.adopt_model()
    embedder.down = True
    result = await Import(service, "a", io.BytesIO(), sleep).run(chunks(body(line())))
    assert (result.stored, waits) == (1, [1.0, 1.0, 1.0])
    store.rows.down = True
    with pytest.raises(Unavailable):
        await Import(service, "a", io.BytesIO(), sleep).run(chunks(body(line())))
    assert len(waits) < 100


async def test_a_batch_is_committed_before_the_body_has_ended(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    service = MemoryService(embedder, store)

    async def cut_off() -> AsyncIterator[bytes]:
        yield body(*(line() for _ in range(200)))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await Import(service, "a", io.BytesIO()).run(cut_off())
    assert await store.memories.count("a", None) == 128


async def test_a_queue_that_is_put_to_is_given_a_size_and_one_that_cannot_wait_is_not() -> None:
    class Receive:
        def __init__(self) -> None:
            self.queue: asyncio.Queue[int] = asyncio.Queue()

    class Request:
        def __init__(self) -> None:
            self.receive = Receive()

    request: Any = Request()
    queue = request.receive.queue
    _read_no_further_ahead(request)
    for n in range(100):
        queue.put_nowait(n)

    async def producer() -> None:
        for n in range(100, 200):
            await queue.put(n)

    producing = asyncio.create_task(producer())
    taken = []
    for _ in range(200):
        await asyncio.sleep(0)
        assert queue.qsize() <= 100
        taken.append(await queue.get())
        assert len(taken) < 100 or queue.qsize() <= 4
    await producing
    assert taken == list(range(200))
