"""Many awaiting callers, few calls: what arrives while calls are under way travels together.

Nothing waits for company. While a call may be started, an item leaves at once; only where as many
as may be are under way does it wait, and then it shares the next one with all that came meanwhile.
A batch is so as large as the load is, and of one item when there is none.
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
from serve_app.web.request_context import RequestContext, act_for, current_requests

_logger = logging.getLogger(logs.NAME)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of calls at once, items in each, items that wait for one, and how long the first of those may
    have waited. Raises ValueError."""

    max_in_flight: int
    max_batch: int
    max_waiting: int
    max_wait_s: float = math.inf

    def __post_init__(self) -> None:
        if (
            min(self.max_in_flight, self.max_batch) < 1
            or min(self.max_waiting, self.max_wait_s) < 0
        ):
            raise ValueError("max_in_flight and max_batch are at least 1, what waits at least 0")


class Coalescer(Generic[Item, Result]):
    """Answers `submit(item)` from calls of up to `max_batch` items, `max_in_flight` at once.

    `call` answers with one result for each item, in order; an exception among them is raised to
    that item's caller alone. Where the call itself raises:

    - a MemexError goes to all of its callers: trying again would not help;
    - any other error may be the fault of one of its items, so each of them goes once more, alone
      and before all that wait, and only what fails alone fails.

    An answer of the wrong length is a fault that all of its callers are told: whose results are
    missing cannot be known.

    Items leave in the order they came. With `size`, those of one call add up to `max_batch_size`
    at most; an item that is larger goes alone. Where `max_waiting` items wait already, or the first
    of them has waited for more than `max_wait_s`, `submit` raises Unavailable at once: an answer
    that comes seconds late is worth less than a refusal. A burst that comes to an empty queue is
    thus let in up to the number, and what comes all the time only as fast as it can be answered.

    A caller that is cancelled drops out. Its item is not sent if it has not been; a call that
    nobody waits for any longer is cancelled, as it would be had its caller made it directly, and
    makes room for the next when it has ended. Deadlines are the callers' (`asyncio.timeout`).

    Calls run in tasks of their own that end with them: there is nothing to close. It belongs to
    one event loop.
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
        """`name` is the part that is said to be Unavailable. `observe` is told each call's number
        of items before it is made, `shed` of each item that is refused."""
        if (size is None) != (max_batch_size is None):
            raise ValueError("size and max_batch_size come together")
        self._call = call
        self._name = name
        self._bounds = bounds
        self._size = size
        self._max_batch_size = max_batch_size or 0
        self._retry_after_s = retry_after_s
        self._observe_batch = observe_batch
        self._observe_refusal = observe_refusal
        self._now_s = monotonic_s
        # Ordered, so that the first is found and any one removed without going through all.
        self._waiting: OrderedDict[_Waiter[Item, Result], None] = OrderedDict()
        self._calls: set[_Call[Item, Result]] = set()
        # The call whose task has not had its first turn: what arrives until then joins it for free.
        self._starting: _Call[Item, Result] | None = None

    async def submit(self, item: Item) -> Result:
        """The item's result. Raises what it failed with; Unavailable where too many wait."""
        size = self._size(item) if self._size is not None else 0
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(item, size, answer, self._now_s(), current_requests())
        # While others wait, nobody gets past them into a call that would have room.
        if self._waiting or not self._board(waiter):
            if self._is_full():
                if self._observe_refusal is not None:
                    self._observe_refusal()
                raise Unavailable(self._name, self._retry_after_s)
            self._waiting[waiter] = None
        try:
            return await answer
        except asyncio.CancelledError:
            self._drop(waiter)
            raise

    def _is_full(self) -> bool:
        if len(self._waiting) >= self._bounds.max_waiting:
            return True
        first = next(iter(self._waiting), None)
        return first is not None and self._now_s() - first.came_s > self._bounds.max_wait_s

    def _board(self, waiter: "_Waiter[Item, Result]") -> bool:
        """Give it a place in the call that is about to start or in a new one, if there is any."""
        call = self._starting
        if call is not None and self._has_room(call, waiter):
            call.take(waiter)
            return True
        if len(self._calls) >= self._bounds.max_in_flight:
            return False
        call = self._starting = _Call()
        call.take(waiter)
        self._calls.add(call)
        task = asyncio.create_task(self._run(call))
        # _run ends the call itself, unless its task is cancelled, from outside, before it begins.
        task.add_done_callback(lambda _: self._end(call))
        return True

    def _has_room(self, call: "_Call[Item, Result]", waiter: "_Waiter[Item, Result]") -> bool:
        return (
            len(call.waiters) < self._bounds.max_batch
            and (self._size is None or call.size + waiter.size <= self._max_batch_size)
            and not waiter.alone
            and not call.waiters[0].alone
        )

    async def _run(self, call: "_Call[Item, Result]") -> None:
        if self._starting is call:
            self._starting = None
        call.task = asyncio.current_task()
        try:
            call.waiters = [waiter for waiter in call.waiters if not waiter.answer.done()]
            if call.waiters:
                await self._make(call)
        finally:
            self._end(call)

    async def _make(self, call: "_Call[Item, Result]") -> None:
        waiters = call.waiters
        # This task is the call's own, and began in the context of whoever made room for it.
        act_for(request for waiter in waiters for request in waiter.requests)
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
                    "a call to the %s with %d items failed; each is tried alone",
                    self._name,
                    len(waiters),
                    exc_info=True,
                    extra={"request_ids": [request.request_id for request in current_requests()]},
                )
                self._try_alone(call)
            return
        for waiter, result in zip(waiters, results, strict=True):
            if isinstance(result, Exception):
                waiter.fail(result)
            elif isinstance(result, BaseException):  # a CancelledError out of asyncio.gather
                waiter.fail(Unavailable(self._name, self._retry_after_s))
            else:
                waiter.succeed(result)

    def _try_alone(self, call: "_Call[Item, Result]") -> None:
        """Back to the head of the queue, in order: they came before all that wait. They were let
        in once, so the bound is not asked again."""
        for waiter in reversed(call.waiters):
            if not waiter.answer.done():
                waiter.call, waiter.alone = None, True
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
            # A cancelled caller's future is done at once, the caller itself has its turn later.
            if not waiter.answer.done() and not self._board(waiter):
                break
            del self._waiting[waiter]

    def _drop(self, waiter: "_Waiter[Item, Result]") -> None:
        self._waiting.pop(waiter, None)
        call = waiter.call
        # A call that has not begun leaves out by itself who is gone; others may still join it.
        if (
            call is not None
            and call.task is not None
            and all(other.answer.done() for other in call.waiters)
            and not call.task.cancelling()  # a second time would disturb how it ends
        ):
            call.task.cancel()


@dataclass(eq=False, slots=True)
class _Waiter(Generic[Item, Result]):
    """A caller that awaits `answer`; it is done early where the caller was cancelled."""

    item: Item
    size: int
    answer: asyncio.Future[Result]
    came_s: float
    requests: tuple[RequestContext, ...]
    call: "_Call[Item, Result] | None" = None
    alone: bool = False

    def succeed(self, result: Result) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            if isinstance(error, StopIteration):  # which no future can hold
                error = RuntimeError(repr(error))
            self.answer.set_exception(error)


@dataclass(eq=False, slots=True)
class _Call(Generic[Item, Result]):
    """`task` is set when it begins."""

    waiters: list[_Waiter[Item, Result]] = field(default_factory=list)
    size: int = 0
    task: asyncio.Task[None] | None = None

    def take(self, waiter: _Waiter[Item, Result]) -> None:
        self.waiters.append(waiter)
        self.size += waiter.size
        waiter.call = self


class _WrongLength(RuntimeError):
    """The call does not keep its contract; trying again would not help."""
