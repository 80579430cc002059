"""Requests of the cache that several callers wait for: shared, failed, cancelled."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from serve_app.clients.embedding.cached import CachedEmbedder
from tests.support.clients.caching import ENTRY_BYTES, Counted, cached, embed, expected
from tests.support.event_loop import turns
from tests.support.fakes.embedder import FakeEmbedder

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


class SlowEmbedder(FakeEmbedder):
    """Answers when the test says so; `answers` has a future for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        rows = await super().embed(texts, kind, identity)
        self.answers.append(asyncio.get_running_loop().create_future())
        try:
            await self.answers[-1]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return rows


@pytest.fixture
def slow() -> SlowEmbedder:
    return SlowEmbedder()


async def begun(embedder: CachedEmbedder, *texts: str) -> asyncio.Task[Embeddings]:
    task = asyncio.create_task(embed(embedder, *texts))
    await turns()
    return task


async def test_concurrent_callers_share_one_request(slow: SlowEmbedder, counted: Counted) -> None:
    embedder = cached(slow, counted)
    callers = [await begun(embedder, *texts) for texts in (["a", "b"], ["b"], ["c", "a", "b"])]
    assert [texts for texts, _ in slow.calls] == [["a", "b"], ["c"]]
    assert (counted.hits, counted.misses) == ([1, 2], [2, 1])
    slow.answers[1].set_result(None)
    await turns()
    assert not any(caller.done() for caller in callers)
    slow.answers[0].set_result(None)
    for caller, texts in zip(callers, ["ab", "b", "cab"], strict=True):
        assert np.array_equal(await caller, expected(*texts))
    (await callers[0])[:] = 0
    assert np.array_equal(await callers[1], expected("b"))
    assert np.array_equal(await embed(embedder, *"abc"), expected(*"abc"))
    assert len(slow.calls) == 2


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(slow: SlowEmbedder) -> None:
    embedder = cached(slow)
    callers = [await begun(embedder, "a"), await begun(embedder, "a")]
    slow.answers[0].set_exception(Unavailable("embedder"))
    for caller in callers:
        with pytest.raises(Unavailable):
            await caller
    again = await begun(embedder, "a")
    slow.answers[1].set_result(None)
    assert np.array_equal(await again, expected("a"))


async def test_one_failing_request_fails_a_caller_of_two_at_once(slow: SlowEmbedder) -> None:
    embedder = cached(slow)
    leader = await begun(embedder, "a")
    both = await begun(embedder, "a", "b")
    slow.answers[0].set_exception(ValueError("poison"))
    for caller in (leader, both):
        with pytest.raises(ValueError, match="poison"):
            await caller
    await turns()
    assert slow.cancelled == 1  # that of b, which nobody waits for any longer


async def test_who_comes_in_the_turn_of_a_failure_asks_anew(slow: SlowEmbedder) -> None:
    embedder = cached(slow)
    caller = await begun(embedder, "a")
    slow.answers[0].set_exception(Unavailable("embedder"))
    later = await begun(embedder, "a")
    assert len(slow.calls) == 2
    slow.answers[1].set_result(None)
    assert np.array_equal(await later, expected("a"))
    with pytest.raises(Unavailable):
        await caller


async def test_a_cancelled_leader_does_not_fail_its_follower(slow: SlowEmbedder) -> None:
    embedder = cached(slow)
    leader = await begun(embedder, "a", "b")
    follower = await begun(embedder, "b")
    leader.cancel()
    await turns()
    assert leader.cancelled()
    slow.answers[0].set_result(None)
    assert np.array_equal(await follower, expected("b"))
    assert len(slow.calls) == 1
    assert np.array_equal(await embed(embedder, "a"), expected("a"))  # the leader's rest is kept


async def test_a_request_that_nobody_waits_for_is_cancelled(slow: SlowEmbedder) -> None:
    embedder = cached(slow)
    callers = [await begun(embedder, "a"), await begun(embedder, "a")]
    for caller in callers:
        caller.cancel()
    await turns()
    assert slow.cancelled == 1
    again = await begun(embedder, "a")
    slow.answers[1].set_result(None)
    assert np.array_equal(await again, expected("a"))


async def test_who_comes_in_the_turn_of_a_cancellation_does_not_share_it(
    slow: SlowEmbedder,
) -> None:
    embedder = cached(slow)
    caller = await begun(embedder, "a")
    caller.cancel()
    later = await begun(embedder, "a")
    assert len(slow.calls) == 2
    slow.answers[1].set_result(None)
    assert np.array_equal(await later, expected("a"))


async def test_cancelled_before_the_request_begins(slow: SlowEmbedder) -> None:
    embedder = cached(slow)
    caller = asyncio.create_task(embed(embedder, "a"))
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    again = await begun(embedder, "a")
    slow.answers[-1].set_result(None)
    assert np.array_equal(await again, expected("a"))


async def test_a_request_cancelled_from_outside_before_it_begins_stands_in_nobodys_way(
    slow: SlowEmbedder,
) -> None:
    embedder = cached(slow)
    leader = await begun(embedder, "b")
    before = asyncio.all_tasks()
    both = asyncio.create_task(embed(embedder, "a", "b"))
    await asyncio.sleep(0)
    (request,) = asyncio.all_tasks() - before - {both}
    request.cancel()
    await turns()
    again = await begun(embedder, "a")
    for answer in slow.answers:
        answer.set_result(None)
    assert np.array_equal(await again, expected("a"))
    assert np.array_equal(await leader, expected("b"))
    with pytest.raises(Unavailable):
        await both


@pytest.mark.parametrize("fails", [False, True])
async def test_a_request_that_ends_late_after_its_cancellation_disturbs_no_other(
    fails: bool,
) -> None:
    class Late(SlowEmbedder):
        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            work = asyncio.create_task(super().embed(texts, kind, identity))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                return await work

    late = Late()
    embedder = cached(late)
    first = await begun(embedder, "a")
    first.cancel()
    await turns()
    second = await begun(embedder, "a")
    if fails:
        late.answers[0].set_exception(ValueError())
    else:
        late.answers[0].set_result(None)
    await turns()
    third = await begun(embedder, "a", "b")
    assert embedder.used_bytes == (0 if fails else ENTRY_BYTES)
    assert [texts for texts, _ in late.calls] == [["a"], ["a"], ["b"]]
    late.answers[1].set_result(None)
    late.answers[2].set_result(None)
    assert np.array_equal(await second, expected("a"))
    assert np.array_equal(await third, expected("a", "b"))
    assert embedder.used_bytes == 2 * ENTRY_BYTES


async def test_cancelled_just_when_the_failure_comes(slow: SlowEmbedder) -> None:
    caller = await begun(cached(slow), "a")
    slow.answers[0].set_exception(ValueError())
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    assert caller.cancelled()


async def test_a_request_cancelled_by_others_is_unavailable(slow: SlowEmbedder) -> None:
    caller = await begun(cached(slow), "a")
    slow.answers[0].cancel()
    with pytest.raises(Unavailable):
        await caller
