"""Coalesced calls with cancelled callers: what is sent, and that nothing leaks."""

import asyncio
from typing import Any

import pytest

from deployments.domain.errors import Unavailable
from tests.support.clients.coalescing import Edge, build_coalescer, outcomes, submit
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_cancelled_waiter_is_not_sent_and_frees_its_place() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, max_waiting=2)
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, *"bc")
    callers[1].cancel()
    await turns()
    callers += await submit(coalescer, "d")
    await edge.end_all()
    assert edge.batches == [["a"], ["c", "d"]]
    first, cancelled, *rest = await outcomes(callers)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [first, *rest] == ["<a>", "<c>", "<d>"]


async def test_waiter_cancelled_as_the_previous_call_ends_is_not_sent() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, *"bc")
    edge.calls[0].end()
    callers[1].cancel()
    await turns()
    assert edge.batches == [["a"], ["c"]]
    await edge.end_all()


@pytest.mark.parametrize("turn", range(8))
async def test_waiter_cancelled_between_two_calls_affects_no_other(turn: int) -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, *"bc")
    edge.calls[0].end()
    await turns(turn)
    callers[1].cancel()
    await turns()
    assert len(edge.calls) == 2
    await edge.end_all()
    assert isinstance((await outcomes(callers))[1], asyncio.CancelledError)
    assert await callers[2] == "<c>"


@pytest.mark.parametrize("turn", range(8))
async def test_later_calls_start_after_all_waiters_are_cancelled(turn: int) -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, *"bc")
    edge.calls[0].end()
    await turns(turn)
    for caller in callers[1:]:
        caller.cancel()
    await turns()
    assert edge.under_way == []
    after = await submit(coalescer, "d")
    await edge.end_all()
    assert await outcomes(after) == ["<d>"]


async def test_nothing_is_sent_if_all_are_cancelled_before_the_call() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    caller = asyncio.create_task(coalescer.submit("a"))
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    assert edge.batches == []
    after = await submit(coalescer, "b")
    await edge.end_all()
    assert await outcomes(after) == ["<b>"]


@pytest.mark.parametrize("error", [None, ValueError("late"), Unavailable("store")])
async def test_caller_cancelled_as_the_answer_arrives_is_cancelled(error: Exception | None) -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, "a")
    waiting = await submit(coalescer, "b")
    if error is None:
        edge.calls[0].end()
    else:
        edge.calls[0].answer.set_exception(error)
    await asyncio.sleep(0)  # the call has ended, and its caller has not resumed yet
    assert not callers[0].done()
    callers[0].cancel()
    await turns()
    await edge.end_all()
    outcome, other = await outcomes(callers + waiting)
    assert isinstance(outcome, asyncio.CancelledError)
    assert other == "<b>"
    assert edge.cancelled == []


async def test_call_continues_for_its_remaining_caller() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge), *"ab")
    callers[0].cancel()
    await turns()
    assert edge.cancelled == []
    edge.calls[0].end()
    assert await callers[1] == "<b>"


async def test_abandoned_call_is_cancelled_once_and_frees_its_place() -> None:
    cancelled: list[list[str]] = []
    may_end = asyncio.Event()

    async def call(items: list[str]) -> list[str]:
        if items == ["c"]:
            return ["C"]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(items)
            await may_end.wait()
            raise
        return []

    coalescer = build_coalescer(call)
    callers = await submit(coalescer, *"ab")
    waiting = await submit(coalescer, "c")
    for caller in callers:
        caller.cancel()
    await turns()
    assert cancelled == [["a", "b"]]
    assert not waiting[0].done()  # the place is not free until the call has ended
    may_end.set()
    assert await waiting[0] == "C"
    assert cancelled == [["a", "b"]]


async def test_externally_cancelled_call_is_not_cancelled_again_by_callers() -> None:
    ended: list[str] = []
    task: asyncio.Task[Any] | None = None

    async def call(_items: list[str]) -> list[str]:
        nonlocal task
        task = asyncio.current_task()
        try:
            await asyncio.Event().wait()
        finally:
            await turns()
            ended.append("well")
        return []

    callers = await submit(build_coalescer(call), "a")
    assert task is not None
    task.cancel()
    await turns(2)
    callers[0].cancel()
    await turns(20)
    assert ended == ["well"]


async def test_call_cancelled_externally_before_it_starts_is_unavailable() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    before = asyncio.all_tasks()
    caller = asyncio.create_task(coalescer.submit("a"))
    await asyncio.sleep(0)
    (call,) = asyncio.all_tasks() - before - {caller}
    call.cancel()
    await turns()
    (outcome,) = await outcomes([caller])
    assert isinstance(outcome, Unavailable)
    after = await submit(coalescer, "b")
    await edge.end_all()
    assert edge.batches == [["b"]]
    assert await outcomes(after) == ["<b>"]


async def test_callers_deadline_is_respected() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await coalescer.submit("a")
    await turns()
    after = await submit(coalescer, "b")
    await edge.end_all()
    assert await outcomes(after) == ["<b>"]
