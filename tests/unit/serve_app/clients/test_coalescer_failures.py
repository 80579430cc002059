"""Coalesced calls that fail: whose error it is, and who is tried again."""

import asyncio
from typing import Any

import pytest

from deployments.domain.errors import MemexError, RateLimited, Unavailable
from tests.support.clients.coalescing import Answers, Edge, coalescer, outcomes, submitted
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def test_a_poisoned_item_fails_alone() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge), *"abc")
    poison = ValueError("b")
    edge.calls[0].answer.set_result(["A", poison, "C"])
    assert await outcomes(callers) == ["A", poison, "C"]
    assert edge.sent == [["a", "b", "c"]]


async def test_a_cancelled_error_among_the_results_is_no_cancellation() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge), *"ab")
    edge.calls[0].answer.set_result(["A", asyncio.CancelledError()])
    first, second = await outcomes(callers)
    assert first == "A"
    assert isinstance(second, Unavailable)


@pytest.mark.parametrize("error", [Unavailable("store"), RateLimited("a", "write", 60, 1.5)])
async def test_our_errors_go_to_all_callers_of_the_call(error: MemexError) -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, "a")
    callers += await submitted(to, "b", "c")
    edge.calls[0].end()
    await turns()
    edge.calls[1].answer.set_exception(error)
    later = await submitted(to, "d")
    await edge.end_all()
    assert await outcomes(callers + later) == ["<a>", error, error, "<d>"]
    assert edge.sent == [["a"], ["b", "c"], ["d"]]


async def test_after_a_fault_each_item_is_tried_alone_before_those_that_wait() -> None:
    sent: list[list[str]] = []
    gate = asyncio.Event()

    async def call(items: list[str]) -> list[str]:
        sent.append(items)
        await gate.wait()
        if "poison" in items:
            raise ValueError(items)
        return [f"<{item}>" for item in items]

    to = coalescer(call, max_waiting=2)
    callers = await submitted(to, "a", "poison", "c")
    callers += await submitted(to, "d", "e")
    gate.set()
    a, poison, *others = await outcomes(callers)
    assert sent == [["a", "poison", "c"], ["a"], ["poison"], ["c"], ["d", "e"]]
    assert (a, *others) == ("<a>", "<c>", "<d>", "<e>")
    assert isinstance(poison, ValueError)
    assert poison.args == (["poison"],)


async def test_items_that_are_tried_alone_use_the_calls_there_are_and_no_more() -> None:
    edge = Edge()
    to = coalescer(edge, max_in_flight=2)
    callers = await submitted(to, *"abc")
    edge.calls[0].answer.set_exception(ValueError())
    callers += await submitted(to, "d")  # joins no call of an item that is tried alone
    assert edge.sent == [["a", "b", "c"], ["a"], ["b"]]
    await edge.end_all()
    assert edge.sent[3:] == [["c"], ["d"]]
    assert edge.most_at_once == 2
    assert await outcomes(callers) == ["<a>", "<b>", "<c>", "<d>"]


async def test_an_item_that_is_tried_alone_joins_no_call_of_others() -> None:
    edge = Edge()
    to = coalescer(edge, max_in_flight=2)
    callers = await submitted(to, *"ab")
    callers.append(asyncio.create_task(to.submit("c")))
    edge.calls[0].answer.set_exception(ValueError())  # when the call of c is about to start
    await turns()
    assert edge.sent == [["a", "b"], ["c"], ["a"]]
    await edge.end_all()
    assert await outcomes(callers) == ["<a>", "<b>", "<c>"]


async def test_who_is_gone_is_not_tried_alone() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge), *"abc")
    callers[0].cancel()
    await turns()
    edge.calls[0].answer.set_exception(ValueError())
    callers[1].cancel()
    await turns()
    await edge.end_all()
    assert edge.sent == [["a", "b", "c"], ["c"]]
    assert await callers[2] == "<c>"


@pytest.mark.parametrize("results", [[], ["A"], ["A", "B", "C"]])
async def test_an_answer_of_the_wrong_length_is_everyones_error(results: Answers) -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, *"ab")
    edge.calls[0].answer.set_result(results)
    for outcome in await outcomes(callers):
        assert isinstance(outcome, RuntimeError)
        assert f"with 2 items was answered with {len(results)}" in str(outcome)
    assert edge.sent == [["a", "b"]]
    after = await submitted(to, "c")
    await edge.end_all()
    assert await outcomes(after) == ["<c>"]


async def test_a_call_that_is_no_coroutine_and_raises() -> None:
    def call(_items: list[str]) -> Any:
        raise StopIteration  # which no future can hold

    to = coalescer(call)
    callers = await submitted(to, *"ab")
    assert [type(outcome) for outcome in await outcomes(callers)] == [RuntimeError] * 2


async def test_a_call_that_is_cancelled_by_others_is_unavailable() -> None:
    edge = Edge()
    to = coalescer(edge)
    callers = await submitted(to, *"ab")
    waiting = await submitted(to, "c")
    edge.calls[0].answer.cancel()
    await turns()
    await edge.end_all()
    first, second, third = await outcomes(callers + waiting)
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert third == "<c>"
