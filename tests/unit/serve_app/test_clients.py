"""Handles as ports: what is tried again, what is not, and which errors come out."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments.domain.errors import Fault, RateLimited, TooManyExports, Unavailable
from deployments.domain.ids import uuid7
from deployments.domain.types import InsertCall, NewMemory, RateLimit
from serve_app.clients.embedder import RemoteEmbedder, slices
from serve_app.clients.reranker import RemoteReranker
from serve_app.clients.store import RemoteStore
from tests.fakes.embedder import IDENTITY, embed_words

LIMIT = RateLimit("write", 60)
MEMORY = NewMemory(uuid7(), "agent", "user", "text")
VECTORS = np.stack([embed_words("text")])


class Handle:
    """A deployment handle whose calls answer with the next of `answers`."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def options(self, **_options: Any) -> Any:
        return type("Method", (), {"remote": staticmethod(self._remote)})

    async def _remote(self, *args: Any) -> Any:
        self.calls.append(args)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return await answer(*args) if callable(answer) else answer


def died() -> RayActorError:
    return ActorUnavailableError("gone", None)


async def insert(handle: Handle) -> Any:
    return await RemoteStore(handle, 5).insert([MEMORY], VECTORS, 1, LIMIT)


async def test_a_write_is_tried_again_when_its_replica_dies_and_counted_once() -> None:
    handle = Handle(died(), RayActorError(), "stored")
    assert await insert(handle) == "stored"
    assert [args[-1] for args in handle.calls] == [LIMIT, None, None]
    assert len({args[0][0].id for args in handle.calls}) == 1


async def test_so_are_many_together() -> None:
    handle = Handle(died(), "stored")
    calls = [InsertCall([MEMORY], VECTORS, 1, LIMIT), InsertCall([MEMORY], VECTORS, 2, None)]
    assert await RemoteStore(handle, 5).insert_each(calls) == "stored"
    (first,), (second,) = handle.calls
    assert [call.limit for call in first] == [LIMIT, None]
    assert [call.limit for call in second] == [None, None]
    assert [call.generation for call in second] == [1, 2]


async def test_it_is_not_tried_for_ever() -> None:
    handle = Handle(died())
    with pytest.raises(Unavailable, match="store"):
        await insert(handle)
    assert len(handle.calls) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.delete("agent", MEMORY.id),
        lambda store: store.forget("agent", "user"),
    ],
)
async def test_deletions_are_not_tried_again(call: Callable[[RemoteStore], Any]) -> None:
    handle = Handle(died())
    with pytest.raises(Unavailable):
        await call(RemoteStore(handle, 5))
    assert len(handle.calls) == 1


def as_task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("insert", "a traceback with secrets", cause)


@pytest.mark.parametrize("wrapped", [False, True])
async def test_our_errors_come_out_as_they_are(wrapped: bool) -> None:
    refusal = RateLimited("agent", "write", 60, 1.5)
    handle = Handle(as_task_error(refusal).as_instanceof_cause() if wrapped else refusal)
    with pytest.raises(RateLimited) as raised:
        await insert(handle)
    assert raised.value.retry_after_s == 1.5
    assert len(handle.calls) == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_faults_come_out_without_a_traceback_of_the_other_side(wrapped: bool) -> None:
    fault = KeyError("oops")
    with pytest.raises((KeyError, Fault)) as raised:
        await insert(Handle(as_task_error(fault) if wrapped else fault))
    assert "KeyError" in repr(raised.value)
    assert "secrets" not in str(raised.value)
    assert wrapped != ("oops" in str(raised.value))  # its own words may quote a memory
    assert not isinstance(raised.value, Unavailable)


async def test_a_full_queue_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await insert(Handle(BackPressureError(1, 1)))


async def test_a_slow_replica_is_unavailable_in_time() -> None:
    async def slow(*_args: Any) -> None:
        await asyncio.sleep(60)

    handle = Handle(slow)
    with pytest.raises(Unavailable):
        await RemoteStore(handle, 0.05).count("agent", None)
    assert len(handle.calls) == 1


class Response:
    """What Serve's handles answer with: awaited, or cancelled."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self._answer is None:
            await asyncio.sleep(60)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        self.cancelled = True


class RerankerHandle:
    """Each call answers with `answer`, or never where that is None."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.responses: list[Response] = []

    def options(self, *, method_name: str, **_options: Any) -> "RerankerHandle":
        assert method_name == "scores"
        return self

    def remote(self, *args: Any) -> Response:
        self.calls.append(args)
        self.responses.append(Response(self._answer))
        return self.responses[-1]


async def test_a_reranker_in_time_answers_and_is_not_cancelled() -> None:
    handle = RerankerHandle([0.5, -1.0])
    assert await RemoteReranker(handle, 5).scores("query", ["a", "b"]) == [0.5, -1.0]
    assert handle.calls == [("query", ["a", "b"])]
    assert not handle.responses[0].cancelled


async def test_a_late_reranker_is_unavailable_and_its_call_cancelled() -> None:
    handle = RerankerHandle(None)
    with pytest.raises(Unavailable, match="reranker"):
        await RemoteReranker(handle, 0.05).scores("query", ["a"])
    assert [response.cancelled for response in handle.responses] == [True]


async def test_a_request_that_goes_away_cancels_its_reranking() -> None:
    handle = RerankerHandle(None)
    request = asyncio.create_task(RemoteReranker(handle, 5).scores("query", ["a"]))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert [response.cancelled for response in handle.responses] == [True]


@pytest.mark.parametrize("answer", [died(), RayActorError(), BackPressureError(1, 1)])
async def test_a_reranker_that_is_down_is_unavailable_and_not_tried_again(
    answer: Exception,
) -> None:
    handle = RerankerHandle(answer)
    with pytest.raises(Unavailable, match="reranker"):
        await RemoteReranker(handle, 5).scores("query", ["a"])
    assert len(handle.calls) == 1


async def test_much_text_travels_in_slices_and_comes_back_in_order() -> None:
    async def encode(texts: list[str], _kind: str, _identity: object) -> Any:
        await asyncio.sleep(0.01 / len(texts[0]))
        return np.stack([embed_words(text) for text in texts])

    texts = [str(n) + "x" * (n % 7) * 1_000 for n in range(40)]
    handle = Handle(encode)
    rows = await RemoteEmbedder(handle, 5).embed(texts, "passage", IDENTITY)
    assert np.array_equal(rows, np.stack([embed_words(text) for text in texts]))
    assert 10 < len(handle.calls) < 40
    assert all(sum(map(len, args[0])) <= 8_000 for args in handle.calls)


async def test_one_failing_slice_fails_the_call_with_its_own_error() -> None:
    handle = Handle(Unavailable("embedder"))
    with pytest.raises(Unavailable, match="embedder"):
        await RemoteEmbedder(handle, 5).embed(["x" * 6_000] * 5, "passage", IDENTITY)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([1], [[1]]), ([5, 5, 5], [[5, 5], [5]]), ([20, 1], [[20], [1]]), ([1, 20], [[1], [20]])],
)
def test_slices(lengths: list[int], expected: list[list[int]]) -> None:
    texts = ["x" * length for length in lengths]
    assert [[len(text) for text in part] for part in slices(texts, 10)] == expected


class Stream:
    """What a streaming handle answers with: items, then an error or the end."""

    def __init__(self, *items: Any) -> None:
        self._items = list(items)
        self.cancelled = False

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if isinstance(item, Exception):
            raise item
        if item is None:
            await asyncio.sleep(60)
        return item

    def cancel(self) -> None:
        self.cancelled = True


class StreamingHandle:
    """Each call answers with the next of `streams`."""

    def __init__(self, *streams: Stream) -> None:
        self.streams = list(streams)
        self.calls: list[tuple[Any, ...]] = []

    def options(self, *, method_name: str, stream: bool, **_options: Any) -> "StreamingHandle":
        assert (method_name, stream) == ("export", True)
        return self

    def remote(self, *args: Any) -> Stream:
        self.calls.append(args)
        return self.streams[len(self.calls) - 1]


async def read(handle: StreamingHandle, timeout_s: float = 5) -> list[Any]:
    return [page async for page in RemoteStore(handle, timeout_s).export("agent", None)]


async def test_an_export_streams() -> None:
    handle = StreamingHandle(Stream(1, 2, 3))
    assert await read(handle) == [1, 2, 3]
    assert handle.calls == [("agent", None)]


async def test_another_replica_is_tried_before_the_first_page_alone() -> None:
    handle = StreamingHandle(Stream(died()), Stream(1, 2))
    assert await read(handle) == [1, 2]
    handle = StreamingHandle(Stream(1, died()), Stream(1, 2))
    with pytest.raises(Unavailable, match="store"):
        await read(handle)
    assert len(handle.calls) == 1
    with pytest.raises(Unavailable):
        await read(StreamingHandle(*(Stream(died()) for _ in range(3))))


async def test_an_exports_errors_come_out_as_they_are() -> None:
    for error in (TooManyExports(2), as_task_error(TooManyExports(2))):
        with pytest.raises(TooManyExports, match="2 exports"):
            await read(StreamingHandle(Stream(error)))


async def test_a_page_that_does_not_come_is_unavailable_and_a_slow_reader_is_not() -> None:
    handle = StreamingHandle(Stream(1, None))
    with pytest.raises(Unavailable):
        await read(handle, 0.05)
    assert handle.streams[0].cancelled
    seen = []
    async for page in RemoteStore(StreamingHandle(Stream(1, 2)), 0.05).export("agent", None):
        await asyncio.sleep(0.1)
        seen.append(page)
    assert seen == [1, 2]


async def test_closing_an_export_cancels_it_at_the_store() -> None:
    handle = StreamingHandle(Stream(1, 2, 3))
    pages = RemoteStore(handle, 5).export("agent", None)
    await anext(pages)
    assert not handle.streams[0].cancelled
    await pages.aclose()
    assert handle.streams[0].cancelled
