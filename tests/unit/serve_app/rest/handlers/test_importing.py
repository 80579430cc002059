"""Imports: which lines are stored, and which are refused under which number."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from deployments.domain.errors import Unavailable
from serve_app.rest.handlers.importing import Import, _limit_read_ahead
from serve_app.services.memories import MemoryService
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.jsonl_calls import AGENT, JSONL, body, export_lines, import_lines, line


async def test_repeated_import_stores_nothing_new(client: httpx2.AsyncClient) -> None:
    lines = [line(content=f"m {n}") for n in range(300)]
    whole = body(*lines) + b'{"end": true, "memories": 300}\n'
    _, end = await import_lines(client, whole)
    assert (end["stored"], end["already_there"], end["whole"]) == (300, 0, True)
    _, end = await import_lines(client, whole)
    assert (end["stored"], end["already_there"], end["whole"]) == (0, 300, True)
    assert len(await export_lines(client)) == 300


async def test_first_of_two_lines_with_the_same_id_is_stored(client: httpx2.AsyncClient) -> None:
    first = line(content="first")
    refused, end = await import_lines(client, body(first, {**first, "content": "second"}))
    assert (refused, end["stored"], end["already_there"]) == ([], 1, 1)
    assert [entry["content"] for entry in await export_lines(client)] == ["first"]


async def test_id_of_another_agent_is_refused_and_unchanged(client: httpx2.AsyncClient) -> None:
    mine = line(content="mine")
    await import_lines(client, body(mine))
    refused, end = await import_lines(client, body(line(), {**mine, "content": "x"}), agent="b")
    assert refused == [{"line": 2, "reason": "id: is taken"}]
    assert (end["stored"], end["refused"]) == (1, 1)
    assert [entry["content"] for entry in await export_lines(client)] == ["mine"]


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
async def test_bad_line_is_refused_by_number_and_other_lines_are_stored(
    client: httpx2.AsyncClient, bad: bytes | dict[str, Any], reason: str
) -> None:
    bad_line = bad if isinstance(bad, bytes) else body(line(**bad)).strip()
    content = body(line()) + b"\r\n\n" + bad_line + b"\n" + body(line())
    refused, end = await import_lines(client, content)
    assert [entry["line"] for entry in refused] == [4]
    assert refused[0]["reason"].startswith(reason)
    assert len(refused[0]["reason"]) <= 500
    assert (end["stored"], end["refused"]) == (2, 1)
    assert len(await export_lines(client)) == 2


async def test_last_line_needs_no_line_break(client: httpx2.AsyncClient) -> None:
    _, end = await import_lines(client, body(line(), line()).strip())
    assert end["stored"] == 2
    refused, end = await import_lines(client, body(line())[:-5])
    assert (refused[0]["line"], end["stored"]) == (1, 0)


async def test_expired_lines_are_not_stored(client: httpx2.AsyncClient) -> None:
    _, end = await import_lines(client, body(line(expires_at="2024-01-01T00:00:00Z"), line()))
    assert (end["stored"], end["expired"], end["refused"]) == (1, 1, 0)


async def test_concatenated_exports_are_imported(client: httpx2.AsyncClient) -> None:
    end_of_one = {"end": True, "memories": 1}
    content = body(line(), end_of_one, line(), end_of_one)
    refused, end = await import_lines(client, content)
    assert (refused, end["stored"], end["whole"]) == ([], 2, True)
    _, end = await import_lines(client, content + body(line()))
    assert not end["whole"]


async def test_all_of_many_refused_lines_are_reported(client: httpx2.AsyncClient) -> None:
    """More lines than are kept in memory."""
    refused, end = await import_lines(client, b"nonsense\n" * 5_000)
    assert [entry["line"] for entry in refused] == list(range(1, 5_001))
    assert end["refused"] == 5_000


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", ""])
async def test_import_requires_the_jsonl_media_type(
    client: httpx2.AsyncClient, media_type: str
) -> None:
    answer = await client.post(
        "/v1/memories/import", params=AGENT, content=b"{}", headers={"content-type": media_type}
    )
    assert answer.status_code == 415
    assert "application/x-ndjson" in answer.json()["detail"]


@pytest.mark.parametrize("limits", [(1, 0)])
async def test_import_counts_as_one_write(client: httpx2.AsyncClient) -> None:
    content = body(*(line(content=f"m {n}") for n in range(400)))
    _, end = await import_lines(client, content)
    assert end["stored"] == 400
    _, end = await import_lines(client, content)  # stores nothing, so it counts as no write
    assert end["already_there"] == 400
    answer = await client.post(
        "/v1/memories/import", params=AGENT, content=body(line()), headers=JSONL
    )
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 50
    assert len(await export_lines(client)) == 400


async def test_existing_memories_are_not_embedded_again(
    client: httpx2.AsyncClient, embedder: FakeEmbedder
) -> None:
    content = body(line(), line())
    await import_lines(client, content)
    calls = len(embedder.calls)
    await import_lines(client, content + body(line(content="new")))
    assert embedder.calls[calls:] == [(["new"], "passage")]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_import_waits_for_an_unavailable_node(
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


async def test_batch_is_committed_before_the_body_ends(
    embedder: FakeEmbedder, store: InMemoryStore
) -> None:
    service = MemoryService(embedder, store)

    async def cut_off() -> AsyncIterator[bytes]:
        yield body(*(line() for _ in range(200)))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await Import(service, "a", io.BytesIO()).run(cut_off())
    assert await store.memories.count("a", None) == 128


async def test_receive_queue_is_bounded_only_for_waiting_producers() -> None:
    class Receive:
        def __init__(self) -> None:
            self.queue: asyncio.Queue[int] = asyncio.Queue()

    class Request:
        def __init__(self) -> None:
            self.receive = Receive()

    request: Any = Request()
    queue = request.receive.queue
    _limit_read_ahead(request)
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
