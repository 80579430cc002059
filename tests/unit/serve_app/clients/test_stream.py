"""Streams over an edge: when another replica is tried, and what ends them."""

import asyncio
from typing import Any

import pytest

from deployments.domain.errors import TooManyExports, Unavailable
from serve_app.clients.store.remote import remote_store
from tests.support.clients.handles import actor_unavailable, as_task_error


class Stream:
    """The response of a streaming handle: items, then an error or the end; None never arrives."""

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
    return [page async for page in remote_store(handle, timeout_s).transfers.export("agent", None)]


async def test_export_streams_its_pages() -> None:
    handle = StreamingHandle(Stream(1, 2, 3))
    assert await read(handle) == [1, 2, 3]
    assert handle.calls == [("agent", None)]


async def test_another_replica_is_tried_only_before_the_first_page() -> None:
    handle = StreamingHandle(Stream(actor_unavailable()), Stream(1, 2))
    assert await read(handle) == [1, 2]
    handle = StreamingHandle(Stream(1, actor_unavailable()), Stream(1, 2))
    with pytest.raises(Unavailable, match="store"):
        await read(handle)
    assert len(handle.calls) == 1
    with pytest.raises(Unavailable):
        await read(StreamingHandle(*(Stream(actor_unavailable()) for _ in range(3))))


async def test_export_errors_are_raised_unchanged() -> None:
    for error in (TooManyExports(2), as_task_error(TooManyExports(2))):
        with pytest.raises(TooManyExports, match="2 exports"):
            await read(StreamingHandle(Stream(error)))


async def test_late_page_is_unavailable_but_a_slow_reader_is_not() -> None:
    handle = StreamingHandle(Stream(1, None))
    with pytest.raises(Unavailable):
        await read(handle, 0.05)
    assert handle.streams[0].cancelled
    pages: list[Any] = []
    async for page in remote_store(StreamingHandle(Stream(1, 2)), 0.05).transfers.export(
        "agent", None
    ):
        await asyncio.sleep(0.1)
        pages.append(page)
    assert pages == [1, 2]


async def test_closing_an_export_cancels_it_at_the_store() -> None:
    handle = StreamingHandle(Stream(1, 2, 3))
    pages = remote_store(handle, 5).transfers.export("agent", None)
    await anext(pages)
    assert not handle.streams[0].cancelled
    await pages.aclose()
    assert handle.streams[0].cancelled
