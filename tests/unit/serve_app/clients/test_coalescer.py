"""Coalesced calls: which callers share a call, and how many may wait."""

import asyncio
from typing import Any

import pytest

from tests.support.clients.coalescing import Edge, coalescer, outcomes, submitted
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def test_an_idle_item_goes_out_at_once_and_alone() -> None:
    edge = Edge()
    to = coalescer(edge)
    caller = asyncio.create_task(to.submit("a"))
    await asyncio.sleep(0)  # the caller's turn
    await asyncio.sleep(0)  # the call's
    assert edge.sent == [["a"]]
    edge.calls[0].end()
    assert await caller == "<a>"


async def test_items_of_one_turn_travel_together() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge, max_in_flight=4), "a", "b", "c")
    assert edge.sent == [["a", "b", "c"]]
    await edge.end_all()
    assert await outcomes(callers) == ["<a>", "<b>", "<c>"]


async def test_what_comes_during_a_call_goes_together_in_the_next() -> None:
    edge = Edge()
    to = coalescer(edge, max_batch=3)
    callers = await submitted(to, "a")
    for item in "bcdef":
        callers += await submitted(to, item)
    assert edge.sent == [["a"]]
    edge.calls[0].end()
    await turns()
    assert edge.sent == [["a"], ["b", "c", "d"]]
    callers += await submitted(to, "g")
    await edge.end_all()
    assert edge.sent == [["a"], ["b", "c", "d"], ["e", "f", "g"]]
    assert await outcomes(callers) == [f"<{item}>" for item in "abcdefg"]


async def test_who_is_answered_and_asks_again_joins_the_next_call() -> None:
    edge = Edge()
    to = coalescer(edge)

    async def twice() -> list[str]:
        return [await to.submit("first"), await to.submit("again")]

    caller = asyncio.create_task(twice())
    await turns()
    others = await submitted(to, "b")
    edge.calls[0].end()
    await turns()
    assert edge.sent == [["first"], ["b", "again"]]
    await edge.end_all()
    assert await outcomes([caller, *others]) == [["<first>", "<again>"], "<b>"]


async def test_as_many_calls_at_once_as_may_be() -> None:
    edge = Edge()
    to = coalescer(edge, max_in_flight=2)
    callers: list[asyncio.Task[Any]] = []
    for item in "abcd":
        callers += await submitted(to, item)
    assert edge.sent == [["a"], ["b"]]
    edge.calls[1].end()
    await turns()
    assert edge.sent == [["a"], ["b"], ["c", "d"]]
    await edge.end_all()
    assert edge.most_at_once == 2
    assert await outcomes(callers) == ["<a>", "<b>", "<c>", "<d>"]


async def test_a_burst_fills_all_calls_in_order() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge, max_in_flight=3, max_batch=2), *range(9))
    assert edge.sent == [[0, 1], [2, 3], [4, 5]]
    await edge.end_all()
    assert edge.sent[3:] == [[6, 7], [8]]
    assert await outcomes(callers) == [f"<{item}>" for item in range(9)]


async def test_one_by_one_it_is_plain_calls() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge, max_batch=1), *"abc")
    fault = KeyError("a")
    edge.calls[0].answer.set_exception(fault)
    await turns()
    await edge.end_all()
    assert edge.sent == [["a"], ["b"], ["c"]]
    assert edge.most_at_once == 1
    assert await outcomes(callers) == [fault, "<b>", "<c>"]


async def test_the_size_of_a_call_is_bounded_and_nobody_gets_past_another() -> None:
    edge = Edge()
    to = coalescer(edge, size=len, max_batch_size=10)
    callers = await submitted(to, "first")
    items = ["x" * length for length in (4, 6, 1, 30, 2, 9, 1)]
    callers += await submitted(to, *items)
    await edge.end_all()
    assert [[len(item) for item in call] for call in edge.sent] == [
        [5],
        [4, 6],
        [1],
        [30],
        [2],
        [9, 1],
    ]
    assert await outcomes(callers) == [f"<{item}>" for item in ["first", *items]]


async def test_a_small_item_does_not_join_before_a_large_one_that_waits() -> None:
    edge = Edge()
    to = coalescer(edge, size=len, max_batch_size=10)

    async def ask_again() -> None:
        await to.submit("first")
        await to.submit("tiny")  # in the turn in which the next call, of 5, is about to start

    caller = asyncio.create_task(ask_again())
    await turns()
    callers = await submitted(to, "x" * 5, "x" * 9)
    await edge.end_all()
    assert [[len(item) for item in call] for call in edge.sent] == [[5], [5], [9], [4]]
    await outcomes([caller, *callers])


async def test_calls_are_observed_by_their_number_of_items() -> None:
    edge = Edge()
    observed: list[int] = []
    to = coalescer(edge, observe_batch=observed.append)
    callers = await submitted(to, "a")
    callers += await submitted(to, *"bcd")
    callers[1].cancel()
    await edge.end_all()
    assert observed == [1, 2]


async def test_it_ends_with_its_loop() -> None:
    edge = Edge()

    async def go_away() -> None:
        to = coalescer(edge)
        for item in "abc":  # one under way, two waiting, and the loop is closed
            await submitted(to, item)

    await asyncio.to_thread(asyncio.run, go_away())
    assert edge.sent == [["a"]]
    assert edge.cancelled == [["a"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"max_batch": 0},
        {"max_waiting": -1},
        {"size": len},
        {"max_batch_size": 5},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        coalescer(Edge(), **wrong)
