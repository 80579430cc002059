"""Coalesced calls whose callers go away: what is sent, and what is left behind."""

import asyncio
from typing import Any

import pytest

from deployments.domain.errors import Unavailable
from tests.support.clients.coalescing import Edge, coalescer, outcomes, submitted
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def test_a_cancelled_waiter_is_never_sent_and_makes_room() -> None:
    edge = Edge()
    to = coalescer(edge, max_waiting=2)
    callers = await submitted(to, "a")
    callers += await submitted(to, *"bc")
    callers[1].cancel()
    await turns()
    callers += await submitted(to, "d")
    await edge.end_all()
    assert edge.sent == [["a"], ["c", "d"]]
    first, cancelled, *others = await outcomes(callers)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [first, *others] == ["<a>", "<c>", "<d>"]


async def test_cancelled_in_the_turn_in_which_the_call_before_ends() -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, "a")
    callers += await submitted(to, *"bc")
    edge.calls[0].end()
    callers[1].cancel()
    await turns()
    assert edge.sent == [["a"], ["c"]]
    await edge.end_all()


@pytest.mark.parametrize("turn", range(8))
async def test_cancelled_at_any_turn_between_two_calls(turn: int) -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, "a")
    callers += await submitted(to, *"bc")
    edge.calls[0].end()
    await turns(turn)
    callers[1].cancel()
    await turns()
    assert len(edge.calls) == 2
    await edge.end_all()
    assert isinstance((await outcomes(callers))[1], asyncio.CancelledError)
    assert await callers[2] == "<c>"


@pytest.mark.parametrize("turn", range(8))
async def test_all_cancelled_at_any_turn_leave_the_way_free(turn: int) -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, "a")
    callers += await submitted(to, *"bc")
    edge.calls[0].end()
    await turns(turn)
    for caller in callers[1:]:
        caller.cancel()
    await turns()
    assert edge.under_way == []
    after = await submitted(to, "d")
    await edge.end_all()
    assert await outcomes(after) == ["<d>"]


async def test_all_cancelled_before_the_call_begins_send_nothing() -> None:
    edge = Edge()
    to = coalescer(edge)
    caller = asyncio.create_task(to.submit("a"))
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    assert edge.sent == []
    after = await submitted(to, "b")
    await edge.end_all()
    assert await outcomes(after) == ["<b>"]


@pytest.mark.parametrize("error", [None, ValueError("late"), Unavailable("store")])
async def test_cancelled_just_when_the_answer_comes(error: Exception | None) -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, "a")
    waiting = await submitted(to, "b")
    if error is None:
        edge.calls[0].end()
    else:
        edge.calls[0].answer.set_exception(error)
    await asyncio.sleep(0)  # the call has ended and its caller is due
    assert not callers[0].done()
    callers[0].cancel()
    await turns()
    await edge.end_all()
    outcome, other = await outcomes(callers + waiting)
    assert isinstance(outcome, asyncio.CancelledError)
    assert other == "<b>"
    assert edge.cancelled == []


async def test_a_call_goes_on_while_one_of_its_callers_is_left() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge), *"ab")
    callers[0].cancel()
    await turns()
    assert edge.cancelled == []
    edge.calls[0].end()
    assert await callers[1] == "<b>"


async def test_a_call_that_nobody_waits_for_is_cancelled_once_and_makes_room() -> None:
    cancelled: list[list[str]] = []
    clean = asyncio.Event()

    async def call(items: list[str]) -> list[str]:
        if items == ["c"]:
            return ["C"]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(items)
            await clean.wait()
            raise
        return []

    to = coalescer(call)
    callers = await submitted(to, *"ab")
    waiting = await submitted(to, "c")
    for caller in callers:
        caller.cancel()
    await turns()
    assert cancelled == [["a", "b"]]
    assert not waiting[0].done()  # its room is not free until the call has ended
    clean.set()
    assert await waiting[0] == "C"
    assert cancelled == [["a", "b"]]


async def test_a_call_cancelled_from_outside_is_not_disturbed_again_by_its_callers() -> None:
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

    callers = await submitted(coalescer(call), "a")
    assert task is not None
    task.cancel()
    await turns(2)
    callers[0].cancel()
    await turns(20)
    assert ended == ["well"]


async def test_a_call_cancelled_from_outside_before_it_begins_is_unavailable() -> None:
    edge = Edge()
    to = coalescer(edge)
    before = asyncio.all_tasks()
    caller = asyncio.create_task(to.submit("a"))
    await asyncio.sleep(0)
    (call,) = asyncio.all_tasks() - before - {caller}
    call.cancel()
    await turns()
    (outcome,) = await outcomes([caller])
    assert isinstance(outcome, Unavailable)
    after = await submitted(to, "b")
    await edge.end_all()
    assert edge.sent == [["b"]]
    assert await outcomes(after) == ["<b>"]


async def test_a_deadline_of_the_caller_holds() -> None:
    edge = Edge()
    to = coalescer(edge)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await to.submit("a")
    await turns()
    after = await submitted(to, "b")
    await edge.end_all()
    assert await outcomes(after) == ["<b>"]
