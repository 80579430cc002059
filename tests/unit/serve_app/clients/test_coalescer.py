"""Coalesced calls: which callers share a call, and how many may wait."""

import asyncio
from typing import Any

import pytest

from tests.support.clients.coalescing import Edge, build_coalescer, outcomes, submit
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_item_is_sent_at_once_if_idle() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)
    caller = asyncio.create_task(coalescer.submit("a"))
    await asyncio.sleep(0)  # the caller's turn
    await asyncio.sleep(0)  # the call's turn
    assert edge.batches == [["a"]]
    edge.calls[0].end()
    assert await caller == "<a>"


async def test_items_of_one_turn_share_a_call() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge, max_in_flight=4), "a", "b", "c")
    assert edge.batches == [["a", "b", "c"]]
    await edge.end_all()
    assert await outcomes(callers) == ["<a>", "<b>", "<c>"]


async def test_items_submitted_during_a_call_share_the_next() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, max_batch=3)
    callers = await submit(coalescer, "a")
    for item in "bcdef":
        callers += await submit(coalescer, item)
    assert edge.batches == [["a"]]
    edge.calls[0].end()
    await turns()
    assert edge.batches == [["a"], ["b", "c", "d"]]
    callers += await submit(coalescer, "g")
    await edge.end_all()
    assert edge.batches == [["a"], ["b", "c", "d"], ["e", "f", "g"]]
    assert await outcomes(callers) == [f"<{item}>" for item in "abcdefg"]


async def test_answered_caller_that_submits_again_joins_the_next_call() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge)

    async def twice() -> list[str]:
        return [await coalescer.submit("first"), await coalescer.submit("again")]

    caller = asyncio.create_task(twice())
    await turns()
    other_callers = await submit(coalescer, "b")
    edge.calls[0].end()
    await turns()
    assert edge.batches == [["first"], ["b", "again"]]
    await edge.end_all()
    assert await outcomes([caller, *other_callers]) == [["<first>", "<again>"], "<b>"]


async def test_at_most_max_in_flight_calls_run_at_once() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, max_in_flight=2)
    callers: list[asyncio.Task[Any]] = []
    for item in "abcd":
        callers += await submit(coalescer, item)
    assert edge.batches == [["a"], ["b"]]
    edge.calls[1].end()
    await turns()
    assert edge.batches == [["a"], ["b"], ["c", "d"]]
    await edge.end_all()
    assert edge.most_at_once == 2
    assert await outcomes(callers) == ["<a>", "<b>", "<c>", "<d>"]


async def test_burst_fills_all_calls_in_order() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge, max_in_flight=3, max_batch=2), *range(9))
    assert edge.batches == [[0, 1], [2, 3], [4, 5]]
    await edge.end_all()
    assert edge.batches[3:] == [[6, 7], [8]]
    assert await outcomes(callers) == [f"<{item}>" for item in range(9)]


async def test_batch_size_one_makes_single_calls() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge, max_batch=1), *"abc")
    fault = KeyError("a")
    edge.calls[0].answer.set_exception(fault)
    await turns()
    await edge.end_all()
    assert edge.batches == [["a"], ["b"], ["c"]]
    assert edge.most_at_once == 1
    assert await outcomes(callers) == [fault, "<b>", "<c>"]


async def test_call_size_is_bounded_and_order_is_kept() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, size=len, max_batch_size=10)
    callers = await submit(coalescer, "first")
    items = ["x" * length for length in (4, 6, 1, 30, 2, 9, 1)]
    callers += await submit(coalescer, *items)
    await edge.end_all()
    assert [[len(item) for item in call] for call in edge.batches] == [
        [5],
        [4, 6],
        [1],
        [30],
        [2],
        [9, 1],
    ]
    assert await outcomes(callers) == [f"<{item}>" for item in ["first", *items]]


async def test_small_item_does_not_overtake_a_waiting_large_one() -> None:
    edge = Edge()
    coalescer = build_coalescer(edge, size=len, max_batch_size=10)

    async def ask_again() -> None:
        await coalescer.submit("first")
        await coalescer.submit("tiny")  # in the turn in which the next call, of size 5, starts

    caller = asyncio.create_task(ask_again())
    await turns()
    callers = await submit(coalescer, "x" * 5, "x" * 9)
    await edge.end_all()
    assert [[len(item) for item in call] for call in edge.batches] == [[5], [5], [9], [4]]
    await outcomes([caller, *callers])


async def test_observed_batch_size_is_the_number_of_items() -> None:
    edge = Edge()
    observed: list[int] = []
    coalescer = build_coalescer(edge, observe_batch=observed.append)
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, *"bcd")
    callers[1].cancel()
    await edge.end_all()
    assert observed == [1, 2]


async def test_call_is_cancelled_when_its_event_loop_ends() -> None:
    edge = Edge()

    async def leave_loop() -> None:
        coalescer = build_coalescer(edge)
        for item in "abc":  # one under way and two waiting when the loop closes
            await submit(coalescer, item)

    await asyncio.to_thread(asyncio.run, leave_loop())
    assert edge.batches == [["a"]]
    assert edge.cancelled == [["a"]]


@pytest.mark.parametrize(
    "options",
    [
        {"max_in_flight": 0},
        {"max_batch": 0},
        {"max_waiting": -1},
        {"size": len},
        {"max_batch_size": 5},
    ],
)
def test_invalid_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        build_coalescer(Edge(), **options)
