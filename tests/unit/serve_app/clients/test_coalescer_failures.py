"""Coalesced calls that fail: who gets the error, and who is retried."""

import asyncio
from typing import Any

import pytest

from deployments.domain.errors import MemexError, RateLimited, Unavailable
from tests.support.clients.coalescing import Answers, Edge, build_coalescer, outcomes, submit
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_failing_item_fails_alone() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge), *"abc")
    poison = ValueError("b")
    edge.calls[0].answer.set_result(["A", poison, "C"])
    assert await outcomes(callers) == ["A", poison, "C"]
    assert edge.batches == [["a", "b", "c"]]


async def test_cancelled_error_in_the_results_is_unavailable() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge), *"ab")
    edge.calls[0].answer.set_result(["A", asyncio.CancelledError()])
    first, second = await outcomes(callers)
    assert first == "A"
    assert isinstance(second, Unavailable)


@pytest.mark.parametrize("error", [Unavailable("store"), RateLimited("a", "write", 60, 1.5)])
async def test_memex_errors_reach_all_callers_of_the_call(error: MemexError) -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, "b", "c")
    edge.calls[0].end()
    await turns()
    edge.calls[1].answer.set_exception(error)
    later = await submit(coalescer, "d")
    await edge.end_all()
    assert await outcomes(callers + later) == ["<a>", error, error, "<d>"]
    assert edge.batches == [["a"], ["b", "c"], ["d"]]


async def test_items_are_retried_alone_after_a_fault_before_waiting_ones() -> None:
    sent: list[list[str]] = []
    gate = asyncio.Event()

    async def call(items: list[str]) -> list[str]:
        sent.append(items)
        await gate.wait()
        if "poison" in items:
            raise ValueError(items)
        return [f"<{item}>" for item in items]

    coalescer = build_coalescer(call, max_waiting=2)
    callers = await submit(coalescer, "a", "poison", "c")
    callers += await submit(coalescer, "d", "e")
    gate.set()
    a, poison, *rest = await outcomes(callers)
    assert sent == [["a", "poison", "c"], ["a"], ["poison"], ["c"], ["d", "e"]]
    assert (a, *rest) == ("<a>", "<c>", "<d>", "<e>")
    assert isinstance(poison, ValueError)
    assert poison.args == (["poison"],)


async def test_items_retried_alone_respect_max_in_flight() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, max_in_flight=2)
    callers = await submit(coalescer, *"abc")
    edge.calls[0].answer.set_exception(ValueError())
    callers += await submit(coalescer, "d")  # must not join the call of an item that is retried
    assert edge.batches == [["a", "b", "c"], ["a"], ["b"]]
    await edge.end_all()
    assert edge.batches[3:] == [["c"], ["d"]]
    assert edge.most_at_once == 2
    assert await outcomes(callers) == ["<a>", "<b>", "<c>", "<d>"]


async def test_item_retried_alone_joins_no_other_call() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, max_in_flight=2)
    callers = await submit(coalescer, *"ab")
    callers.append(asyncio.create_task(coalescer.submit("c")))
    edge.calls[0].answer.set_exception(ValueError())  # just before the call of c starts
    await turns()
    assert edge.batches == [["a", "b"], ["c"], ["a"]]
    await edge.end_all()
    assert await outcomes(callers) == ["<a>", "<b>", "<c>"]


async def test_cancelled_callers_are_not_retried() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge), *"abc")
    callers[0].cancel()
    await turns()
    edge.calls[0].answer.set_exception(ValueError())
    callers[1].cancel()
    await turns()
    await edge.end_all()
    assert edge.batches == [["a", "b", "c"], ["c"]]
    assert await callers[2] == "<c>"


@pytest.mark.parametrize("results", [[], ["A"], ["A", "B", "C"]])
async def test_answer_of_the_wrong_length_fails_all_callers(results: Answers) -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, *"ab")
    edge.calls[0].answer.set_result(results)
    for outcome in await outcomes(callers):
        assert isinstance(outcome, RuntimeError)
        assert f"with 2 items was answered with {len(results)}" in str(outcome)
    assert edge.batches == [["a", "b"]]
    after = await submit(coalescer, "c")
    await edge.end_all()
    assert await outcomes(after) == ["<c>"]


async def test_synchronous_call_that_raises_fails_all_callers() -> None:
    def call(_items: list[str]) -> Any:
        raise StopIteration  # no future can hold it

    coalescer = build_coalescer(call)
    callers = await submit(coalescer, *"ab")
    assert [type(outcome) for outcome in await outcomes(callers)] == [RuntimeError] * 2


async def test_externally_cancelled_call_is_unavailable() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    callers = await submit(coalescer, *"ab")
    waiting = await submit(coalescer, "c")
    edge.calls[0].answer.cancel()
    await turns()
    await edge.end_all()
    first, second, third = await outcomes(callers + waiting)
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert third == "<c>"
