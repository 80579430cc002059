"""The coalescer under load: what waits, what is refused, and what everyone gets."""

import asyncio
import random
from typing import Any

import pytest

from deployments.domain.errors import Unavailable
from tests.support.clients.coalescing import Edge, coalescer, outcomes, submitted
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def test_past_the_bound_load_is_shed_and_afterwards_taken_again() -> None:
    edge = Edge()
    shed: list[int] = []
    to = coalescer(edge, max_waiting=2, retry_after_s=2.5, observe_refusal=lambda: shed.append(1))
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
        observe_batch=sizes.append,
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
