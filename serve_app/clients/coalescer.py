"""Coalesces callers: those that arrive while calls run share the next call.

An item is sent at once if another call may start. It waits only while `max_in_flight` calls run,
and then shares the next call with all items that arrived meanwhile. So batches grow with the load;
without load, a batch is one item.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from deployments.domain.errors import MemexError, Unavailable
from deployments.runtime import logs
from serve_app.web.request_context import RequestContext, current_requests, set_current_requests

_logger = logging.getLogger(logs.NAME)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on the calls at once, on the items of a call, on the waiting items, and on the time
    that the first of those may have waited. Raises ValueError."""

    max_in_flight: int
    max_batch: int
    max_waiting: int
    max_wait_s: float = math.inf

    def __post_init__(self) -> None:
        if (
            min(self.max_in_flight, self.max_batch) < 1
            or min(self.max_waiting, self.max_wait_s) < 0
        ):
            raise ValueError(
                "max_in_flight and max_batch must be at least 1, "
                "max_waiting and max_wait_s at least 0"
            )


class Coalescer(Generic[Item, Result]):
    """Answers `submit(item)` from calls of up to `max_batch` items, `max_in_flight` at once.

    `call` returns one result for each item, in order. An exception among the results is raised only
    to that item's caller. If the call itself raises an error:

    - a MemexError is raised to all of its callers, because a retry would not help;
    - any other error may be caused by one item, so each item is retried once in its own call,
      before all waiting items, and only the items that fail again fail.

    If the number of results is wrong, all of the call's callers fail, because it is unknown whose
    results are missing.

    Items are sent in the order in which they arrived. With `size`, the sizes of a call's items add
    up to at most `max_batch_size`; a larger item gets its own call. If `max_waiting` items wait, or
    the first of them has waited for more than `max_wait_s`, `submit` raises Unavailable at once: a
    refusal is worth more than an answer that is seconds late. So a burst into an empty queue is
    admitted up to `max_waiting`, and constant load only as fast as calls answer it.

    If a caller is cancelled, its item is not sent unless it already was. A call whose callers are
    all cancelled is cancelled too, as if a caller had made it directly; the next call can start
    when it has ended. Deadlines are the callers' (`asyncio.timeout`).

    Calls run in their own tasks, which end with them, so there is nothing to close. Belongs to one
    event loop.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        name: str,
        bounds: Bounds,
        *,
        size: Callable[[Item], int] | None = None,
        max_batch_size: int | None = None,
        retry_after_s: float = 1.0,
        observe_batch: Callable[[int], None] | None = None,
        observe_refusal: Callable[[], None] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is the node that Unavailable names. `observe_batch` is called with a call's number
        of items before each call, `observe_refusal` for each refused item."""
        if (size is None) != (max_batch_size is None):
            raise ValueError("size and max_batch_size must be set together")
        self._call = call
        self._name = name
        self._bounds = bounds
        self._size = size
        self._max_batch_size = max_batch_size or 0
        self._retry_after_s = retry_after_s
        self._observe_batch = observe_batch
        self._observe_refusal = observe_refusal
        self._now_s = monotonic_s
        # Ordered, so that finding the first and removing any one takes constant time.
        self._waiting: OrderedDict[_Waiter[Item, Result], None] = OrderedDict()
        self._calls: set[_Call[Item, Result]] = set()
        # The call whose task has not started: items that arrive until then join it at no cost.
        self._starting: _Call[Item, Result] | None = None

    async def submit(self, item: Item) -> Result:
        """The item's result. Raises the item's error, or Unavailable if too many callers wait."""
        size = self._size(item) if self._size is not None else 0
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(item, size, answer, self._now_s(), current_requests())
        # While others wait, no item may overtake them into a call that has room.
        if self._waiting or not self._assign(waiter):
            if self._is_full():
                if self._observe_refusal is not None:
                    self._observe_refusal()
                raise Unavailable(self._name, self._retry_after_s)
            self._waiting[waiter] = None
        try:
            return await answer
        except asyncio.CancelledError:
            self._remove_cancelled(waiter)
            raise

    def _is_full(self) -> bool:
        if len(self._waiting) >= self._bounds.max_waiting:
            return True
        first = next(iter(self._waiting), None)
        return first is not None and self._now_s() - first.arrived_s > self._bounds.max_wait_s

    def _assign(self, waiter: "_Waiter[Item, Result]") -> bool:
        """Add the waiter to the call that is about to start, or to a new one. False if the first
        has no room and no new one may start."""
        call = self._starting
        if call is not None and self._has_room(call, waiter):
            call.add(waiter)
            return True
        if len(self._calls) >= self._bounds.max_in_flight:
            return False
        call = self._starting = _Call()
        call.add(waiter)
        self._calls.add(call)
        task = asyncio.create_task(self._run(call))
        # _run ends the call itself, unless its task is cancelled from outside before it starts.
        task.add_done_callback(lambda _: self._end(call))
        return True

    def _has_room(self, call: "_Call[Item, Result]", waiter: "_Waiter[Item, Result]") -> bool:
        return (
            len(call.waiters) < self._bounds.max_batch
            and (self._size is None or call.size + waiter.size <= self._max_batch_size)
            and not waiter.is_retry
            and not call.waiters[0].is_retry
        )

    async def _run(self, call: "_Call[Item, Result]") -> None:
        if self._starting is call:
            self._starting = None
        call.task = asyncio.current_task()
        try:
            call.waiters = [waiter for waiter in call.waiters if not waiter.answer.done()]
            if call.waiters:
                await self._send(call)
        finally:
            self._end(call)

    async def _send(self, call: "_Call[Item, Result]") -> None:
        waiters = call.waiters
        # The task inherited the context of another task.
        set_current_requests(request for waiter in waiters for request in waiter.requests)
        try:
            if self._observe_batch is not None:
                self._observe_batch(len(waiters))
            results = await self._call([waiter.item for waiter in waiters])
            if len(results) != len(waiters):
                raise _WrongLength(
                    f"a call to the {self._name} with {len(waiters)} items "
                    f"was answered with {len(results)} results"
                )
        except Exception as error:
            if len(waiters) == 1 or isinstance(error, MemexError | _WrongLength):
                for waiter in waiters:
                    waiter.fail(error)
            else:
                _logger.warning(
                    "a call to the %s with %d items failed; retrying each item in its own call",
                    self._name,
                    len(waiters),
                    exc_info=True,
                    extra={"request_ids": [request.request_id for request in current_requests()]},
                )
                self._retry_alone(call)
            return
        for waiter, result in zip(waiters, results, strict=True):
            if isinstance(result, Exception):
                waiter.fail(result)
            elif isinstance(result, BaseException):  # a CancelledError from asyncio.gather
                waiter.fail(Unavailable(self._name, self._retry_after_s))
            else:
                waiter.succeed(result)

    def _retry_alone(self, call: "_Call[Item, Result]") -> None:
        """Put the waiters back at the head of the queue, in order, because they arrived before all
        that wait. The bounds do not apply again: the waiters were admitted."""
        for waiter in reversed(call.waiters):
            if not waiter.answer.done():
                waiter.call, waiter.is_retry = None, True
                self._waiting[waiter] = None
                self._waiting.move_to_end(waiter, last=False)
        call.waiters = []

    def _end(self, call: "_Call[Item, Result]") -> None:
        if call not in self._calls:
            return
        self._calls.remove(call)
        if self._starting is call:
            self._starting = None
        for waiter in call.waiters:  # none, unless the call was cancelled from outside
            waiter.fail(Unavailable(self._name, self._retry_after_s))
        call.waiters = []
        while self._waiting:
            waiter = next(iter(self._waiting))
            # A cancelled caller's future is done at once; the caller's task runs later.
            if not waiter.answer.done() and not self._assign(waiter):
                break
            del self._waiting[waiter]

    def _remove_cancelled(self, waiter: "_Waiter[Item, Result]") -> None:
        self._waiting.pop(waiter, None)
        call = waiter.call
        # A call that has not started omits cancelled callers itself, and others may still join it.
        if (
            call is not None
            and call.task is not None
            and all(other.answer.done() for other in call.waiters)
            and not call.task.cancelling()  # a second cancel would disturb its cleanup
        ):
            call.task.cancel()


@dataclass(eq=False, slots=True)
class _Waiter(Generic[Item, Result]):
    """A caller that awaits `answer`, which is done early if the caller is cancelled."""

    item: Item
    size: int
    answer: asyncio.Future[Result]
    arrived_s: float
    requests: tuple[RequestContext, ...]
    call: "_Call[Item, Result] | None" = None
    is_retry: bool = False

    def succeed(self, result: Result) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            if isinstance(error, StopIteration):  # a future cannot hold it
                error = RuntimeError(repr(error))
            self.answer.set_exception(error)


@dataclass(eq=False, slots=True)
class _Call(Generic[Item, Result]):
    """A call, or one that is about to start: `task` is set when it does."""

    waiters: list[_Waiter[Item, Result]] = field(default_factory=list)
    size: int = 0
    task: asyncio.Task[None] | None = None

    def add(self, waiter: _Waiter[Item, Result]) -> None:
        self.waiters.append(waiter)
        self.size += waiter.size
        waiter.call = self


class _WrongLength(RuntimeError):
    """The number of results is wrong; a retry would not help."""
