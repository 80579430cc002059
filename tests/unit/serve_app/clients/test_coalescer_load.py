"""The coalescer under load: who waits, who is shed, and who gets which answer."""

import asyncio
import random
from typing import Any

import pytest

from deployments.domain.errors import Unavailable
from tests.support.clients.coalescing import Edge, build_coalescer, outcomes, submit
from tests.support.event_loop import turns

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_callers_beyond_the_bound_are_shed_until_there_is_room() -> None:
    edge = Edge()
    shed: list[int] = []
    coalescer = build_coalescer(
        edge, max_waiting=2, retry_after_s=2.5, observe_refusal=lambda: shed.append(1)
    )
    callers = await submit(coalescer, "a")
    callers += await submit(coalescer, *"bcde")
    refused = callers[3:]
    assert all(caller.done() for caller in refused)
    for refusal in await outcomes(refused):
        assert isinstance(refusal, Unavailable)
        assert (refusal.part, refusal.retry_after_s) == ("embedder", 2.5)
    assert len(shed) == 2
    edge.calls[0].end()
    await turns()
    callers = callers[:3] + await submit(coalescer, *"fg")
    await edge.end_all()
    assert await outcomes(callers) == [f"<{item}>" for item in "abcfg"]
    assert edge.batches == [["a"], ["b", "c"], ["f", "g"]]
    assert len(shed) == 2


async def test_callers_are_shed_while_the_first_waits_too_long() -> None:
    """Regardless of how many callers wait."""
    edge, now_s = Edge(), [100.0]
    coalescer = build_coalescer(edge, max_batch=1, max_wait_s=0.5, monotonic_s=lambda: now_s[0])
    callers = await submit(coalescer, *range(20))
    now_s[0] += 0.5
    callers += await submit(coalescer, 20)
    now_s[0] += 0.01
    with pytest.raises(Unavailable):
        await coalescer.submit(21)
    await edge.end_all()
    assert await outcomes(callers) == [f"<{n}>" for n in range(21)]
    callers = await submit(coalescer, 22)
    await edge.end_all()
    assert await outcomes(callers) == ["<22>"]


async def test_callers_that_fit_into_a_call_do_not_count_as_waiting() -> None:
    edge = Edge()
    callers = await submit(build_coalescer(edge, 2, max_batch=2, max_waiting=0), *range(5))
    assert edge.batches == [[0, 1], [2, 3]]
    await edge.end_all()
    *answers, refusal = await outcomes(callers)
    assert answers == [f"<{item}>" for item in range(4)]
    assert isinstance(refusal, Unavailable)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("max_in_flight", "max_batch"), [(1, 1), (1, 16), (3, 7), (8, 64)])
async def test_random_load_gives_each_caller_its_own_answer(
    seed: int, max_in_flight: int, max_batch: int
) -> None:
    rng = random.Random(seed)
    edge = Edge()
    sizes: list[int] = []
    coalescer = build_coalescer(
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
        call = rng.choice(edge.under_way)
        if call.answer.done():
            return
        kind = rng.random()
        if kind < 0.05:
            call.answer.set_exception(Unavailable("embedder"))
        elif kind < 0.1 or any(item % 97 == 0 for item in call.items):
            call.answer.set_exception(ValueError("poison"))
        elif kind < 0.12:
            call.answer.set_result([])
        else:
            call.answer.set_result(
                [KeyError(item) if item % 89 == 0 else -item for item in call.items]
            )

    bursts = [0, 0, 1, 3, 20] if max_batch > 1 else [0, 0, 0, 1, 2]
    total = 5_000
    while len(callers) < total or not all(caller.done() for caller in callers):
        for _ in range(rng.choice(bursts)):
            if len(callers) < total:
                callers.append(asyncio.create_task(coalescer.submit(len(callers))))
        if callers and rng.random() < 0.3:
            index = rng.randrange(max(0, len(callers) - 150), len(callers))
            callers[index].cancel()
        if rng.random() < 0.02:
            for caller in callers[-30:]:
                caller.cancel()
        await turns(rng.choice([0, 1, 1, 2, 3]))
        if rng.random() < 0.02:
            sent = {item for items in edge.batches for item in items}
            for index in range(max(0, len(callers) - 50), len(callers)):
                if callers[index].cancel() and index not in sent:
                    cancelled_unsent.add(index)
        if edge.under_way and (rng.random() < 0.7 or len(callers) == total):
            end_one()

    assert edge.most_at_once == max_in_flight
    assert sizes == [len(items) for items in edge.batches]
    assert max(sizes) <= max_batch
    assert all(sum(item % 10 for item in items) <= 40 for items in edge.batches)
    assert cancelled_unsent
    assert cancelled_unsent.isdisjoint(item for items in edge.batches for item in items)
    first_sent = list(dict.fromkeys(item for items in edge.batches for item in items))
    assert first_sent == sorted(first_sent)  # in the order of their submission
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
