"""The other side of a coalescer, which answers when the test says so."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from serve_app.clients.coalescer import Bounds, Coalescer
from tests.support.event_loop import turns

Answers = list[Any]


class Made:
    """A call under way; it ends when the test says so."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.answer: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        self.answer.set_result([f"<{item}>" for item in self.items])


class Edge:
    """The other side: keeps what it was called with, and counts what is under way."""

    def __init__(self) -> None:
        self.calls: list[Made] = []
        self.under_way: list[Made] = []
        self.most_at_once = 0
        self.cancelled: list[list[Any]] = []

    async def __call__(self, items: list[Any]) -> Answers:
        made = Made(items)
        self.calls.append(made)
        self.under_way.append(made)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        try:
            return await made.answer
        except asyncio.CancelledError:
            self.cancelled.append(items)
            raise
        finally:
            self.under_way.remove(made)

    @property
    def sent(self) -> list[list[Any]]:
        return [made.items for made in self.calls]

    async def end_all(self) -> None:
        while self.under_way:
            self.under_way[0].end()
            await turns()


def coalescer(
    call: Callable[[list[Any]], Coroutine[Any, Any, Any]],
    max_in_flight: int = 1,
    max_batch: int = 100,
    max_waiting: int = 1_000,
    max_wait_s: float = math.inf,
    **options: Any,
) -> Coalescer[Any, Any]:
    bounds = Bounds(max_in_flight, max_batch, max_waiting, max_wait_s)
    return Coalescer(call, "embedder", bounds, **options)


async def submitted(to: Coalescer[Any, Any], *items: Any) -> list[asyncio.Task[Any]]:
    """Callers, one for each item, all of the same turn."""
    tasks = [asyncio.create_task(to.submit(item)) for item in items]
    await turns()
    return tasks


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)
