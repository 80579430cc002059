"""Coalesced calls: who travels with whom, who gets which answer, and what cancelling leaves."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from deployments.domain.errors import MemexError, RateLimited, Unavailable
from serve_app.coalescing import Bounds, Coalescer
from tests.unit.serve_app.conftest import turns

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

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


async def test_past_the_bound_load_is_shed_and_afterwards_taken_again() -> None:
    edge = Edge()
    shed: list[int] = []
    to = coalescer(edge, max_waiting=2, retry_after_s=2.5, shed=lambda: shed.append(1))
    callers = await submitted(to, "a")
    callers += await submitted(to, *"bcde")
    refused = callers[3:]
    assert all(caller.done() for caller in refused)
    for refusal in await outcomes(refused):
        assert isinstance(refusal, Unavailable)
        assert (refusal.part, refusal.retry_after_s) == ("embedder", 2.5)
    assert len(shed) == 2
    edge.calls[0].end()
    await turns()
    callers = callers[:3] + await submitted(to, *"fg")
    await edge.end_all()
    assert await outcomes(callers) == [f"<{item}>" for item in "abcfg"]
    assert edge.sent == [["a"], ["b", "c"], ["f", "g"]]
    assert len(shed) == 2


async def test_once_the_first_has_waited_too_long_further_ones_are_refused() -> None:
    """However many those are that came before."""
    edge, now_s = Edge(), [100.0]
    to = coalescer(edge, max_batch=1, max_wait_s=0.5, monotonic_s=lambda: now_s[0])
    callers = await submitted(to, *range(20))
    now_s[0] += 0.5
    callers += await submitted(to, 20)
    now_s[0] += 0.01
    with pytest.raises(Unavailable):
        await to.submit(21)
    await edge.end_all()
    assert await outcomes(callers) == [f"<{n}>" for n in range(21)]
    callers = await submitted(to, 22)
    await edge.end_all()
    assert await outcomes(callers) == ["<22>"]


async def test_what_finds_a_place_in_a_call_is_not_waiting() -> None:
    edge = Edge()
    callers = await submitted(coalescer(edge, 2, max_batch=2, max_waiting=0), *range(5))
    assert edge.sent == [[0, 1], [2, 3]]
    await edge.end_all()
    *answers, refusal = await outcomes(callers)
    assert answers == [f"<{item}>" for item in range(4)]
    assert isinstance(refusal, Unavailable)


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


async def test_calls_are_observed_by_their_number_of_items() -> None:
    edge = Edge()
    observed: list[int] = []
    to = coalescer(edge, observe=observed.append)
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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("max_in_flight", "max_batch"), [(1, 1), (1, 16), (3, 7), (8, 64)])
async def test_under_random_load_everyone_gets_their_own(
    seed: int, max_in_flight: int, max_batch: int
) -> None:
    rng = random.Random(seed)
    edge = Edge()
    sizes: list[int] = []
    to = coalescer(
        edge,
        max_in_flight,
        max_batch,
        max_waiting=200,
        size=lambda item: item % 10,
        max_batch_size=40,
        observe=sizes.append,
    )
    callers: list[asyncio.Task[Any]] = []
    cancelled_unsent: set[int] = set()

    def end_one() -> None:
        made = rng.choice(edge.under_way)
        if made.answer.done():
            return
        kind = rng.random()
        if kind < 0.05:
            made.answer.set_exception(Unavailable("embedder"))
        elif kind < 0.1 or any(item % 97 == 0 for item in made.items):
            made.answer.set_exception(ValueError("poison"))
        elif kind < 0.12:
            made.answer.set_result([])
        else:
            made.answer.set_result(
                [KeyError(item) if item % 89 == 0 else -item for item in made.items]
            )

    bursts = [0, 0, 1, 3, 20] if max_batch > 1 else [0, 0, 0, 1, 2]
    total = 5_000
    while len(callers) < total or not all(caller.done() for caller in callers):
        for _ in range(rng.choice(bursts)):
            if len(callers) < total:
                callers.append(asyncio.create_task(to.submit(len(callers))))
        if callers and rng.random() < 0.3:
            index = rng.randrange(max(0, len(callers) - 150), len(callers))
            callers[index].cancel()
        if rng.random() < 0.02:
            for caller in callers[-30:]:
                caller.cancel()
        await turns(rng.choice([0, 1, 1, 2, 3]))
        if rng.random() < 0.02:
            sent = {item for items in edge.sent for item in items}
            for index in range(max(0, len(callers) - 50), len(callers)):
                if callers[index].cancel() and index not in sent:
                    cancelled_unsent.add(index)
        if edge.under_way and (rng.random() < 0.7 or len(callers) == total):
            end_one()

    assert edge.most_at_once == max_in_flight
    assert sizes == [len(items) for items in edge.sent]
    assert max(sizes) <= max_batch
    assert all(sum(item % 10 for item in items) <= 40 for items in edge.sent)
    assert cancelled_unsent
    assert cancelled_unsent.isdisjoint(item for items in edge.sent for item in items)
    first_sent = list(dict.fromkeys(item for items in edge.sent for item in items))
    assert first_sent == sorted(first_sent)  # in the order they came
    answered = 0
    for item, outcome in enumerate(await outcomes(callers)):
        if isinstance(outcome, KeyError):
            assert outcome.args == (item,)
        elif not isinstance(outcome, BaseException):
            assert outcome == -item
            answered += 1
        else:
            assert isinstance(
                outcome, asyncio.CancelledError | Unavailable | ValueError | RuntimeError
            )
    assert answered > total / 3
