"""The edge behind a coalescer; the test answers its calls."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from serve_app.clients.coalescer import Bounds, Coalescer
from tests.support.event_loop import turns

Answers = list[Any]


class PendingCall:
    """A call that waits until the test sets its answer or calls `end`."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.answer: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        self.answer.set_result([f"<{item}>" for item in self.items])


class Edge:
    """Records its calls, those under way, and the items of the calls that were cancelled."""

    def __init__(self) -> None:
        self.calls: list[PendingCall] = []
        self.under_way: list[PendingCall] = []
        self.most_at_once = 0
        self.cancelled: list[list[Any]] = []

    async def __call__(self, items: list[Any]) -> Answers:
        call = PendingCall(items)
        self.calls.append(call)
        self.under_way.append(call)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        try:
            return await call.answer
        except asyncio.CancelledError:
            self.cancelled.append(items)
            raise
        finally:
            self.under_way.remove(call)

    @property
    def batches(self) -> list[list[Any]]:
        """The items of each call."""
        return [call.items for call in self.calls]

    async def end_all(self) -> None:
        while self.under_way:
            self.under_way[0].end()
            await turns()


def build_coalescer(
    call: Callable[[list[Any]], Coroutine[Any, Any, Any]],
    max_in_flight: int = 1,
    max_batch: int = 100,
    max_waiting: int = 1_000,
    max_wait_s: float = math.inf,
    **options: Any,
) -> Coalescer[Any, Any]:
    bounds = Bounds(max_in_flight, max_batch, max_waiting, max_wait_s)
    return Coalescer(call, "embedder", bounds, **options)


async def submit(coalescer: Coalescer[Any, Any], *items: Any) -> list[asyncio.Task[Any]]:
    """One caller for each item, all in the same turn of the event loop."""
    tasks = [asyncio.create_task(coalescer.submit(item)) for item in items]
    await turns()
    return tasks


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)
