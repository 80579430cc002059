"""Requests of the embedding cache with several callers: shared, failed, cancelled."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from serve_app.clients.embedding.cached import CachedEmbedder
from tests.support.clients.caching import ENTRY_BYTES, Counts, cached_embedder, embed, expected_rows
from tests.support.event_loop import turns
from tests.support.fakes.embedder import FakeEmbedder

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class SlowEmbedder(FakeEmbedder):
    """Answers a call when the test resolves its future in `answers`."""

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


async def start(embedder: CachedEmbedder, *texts: str) -> asyncio.Task[Embeddings]:
    task = asyncio.create_task(embed(embedder, *texts))
    await turns()
    return task


async def test_concurrent_callers_share_one_request(slow: SlowEmbedder, counts: Counts) -> None:
    embedder = cached_embedder(slow, counts)
    callers = [await start(embedder, *texts) for texts in (["a", "b"], ["b"], ["c", "a", "b"])]
    assert [texts for texts, _ in slow.calls] == [["a", "b"], ["c"]]
    assert (counts.hits, counts.misses) == ([1, 2], [2, 1])
    slow.answers[1].set_result(None)
    await turns()
    assert not any(caller.done() for caller in callers)
    slow.answers[0].set_result(None)
    for caller, texts in zip(callers, ["ab", "b", "cab"], strict=True):
        assert np.array_equal(await caller, expected_rows(*texts))
    (await callers[0])[:] = 0
    assert np.array_equal(await callers[1], expected_rows("b"))
    assert np.array_equal(await embed(embedder, *"abc"), expected_rows(*"abc"))
    assert len(slow.calls) == 2


async def test_failure_reaches_all_waiting_callers_and_is_not_cached(slow: SlowEmbedder) -> None:
    embedder = cached_embedder(slow)
    callers = [await start(embedder, "a"), await start(embedder, "a")]
    slow.answers[0].set_exception(Unavailable("embedder"))
    for caller in callers:
        with pytest.raises(Unavailable):
            await caller
    again = await start(embedder, "a")
    slow.answers[1].set_result(None)
    assert np.array_equal(await again, expected_rows("a"))


async def test_failing_request_fails_a_caller_of_two_requests_at_once(slow: SlowEmbedder) -> None:
    embedder = cached_embedder(slow)
    leader = await start(embedder, "a")
    both = await start(embedder, "a", "b")
    slow.answers[0].set_exception(ValueError("poison"))
    for caller in (leader, both):
        with pytest.raises(ValueError, match="poison"):
            await caller
    await turns()
    assert slow.cancelled == 1  # the request for b, which no caller waits for


async def test_caller_in_the_turn_of_a_failure_makes_a_new_request(slow: SlowEmbedder) -> None:
    embedder = cached_embedder(slow)
    caller = await start(embedder, "a")
    slow.answers[0].set_exception(Unavailable("embedder"))
    later = await start(embedder, "a")
    assert len(slow.calls) == 2
    slow.answers[1].set_result(None)
    assert np.array_equal(await later, expected_rows("a"))
    with pytest.raises(Unavailable):
        await caller


async def test_cancelled_leader_does_not_fail_its_follower(slow: SlowEmbedder) -> None:
    embedder = cached_embedder(slow)
    leader = await start(embedder, "a", "b")
    follower = await start(embedder, "b")
    leader.cancel()
    await turns()
    assert leader.cancelled()
    slow.answers[0].set_result(None)
    assert np.array_equal(await follower, expected_rows("b"))
    assert len(slow.calls) == 1
    assert np.array_equal(
        await embed(embedder, "a"), expected_rows("a")
    )  # the leader's other text is cached


async def test_abandoned_request_is_cancelled(slow: SlowEmbedder) -> None:
    embedder = cached_embedder(slow)
    callers = [await start(embedder, "a"), await start(embedder, "a")]
    for caller in callers:
        caller.cancel()
    await turns()
    assert slow.cancelled == 1
    again = await start(embedder, "a")
    slow.answers[1].set_result(None)
    assert np.array_equal(await again, expected_rows("a"))


async def test_caller_in_the_turn_of_a_cancellation_makes_a_new_request(
    slow: SlowEmbedder,
) -> None:
    embedder = cached_embedder(slow)
    caller = await start(embedder, "a")
    caller.cancel()
    later = await start(embedder, "a")
    assert len(slow.calls) == 2
    slow.answers[1].set_result(None)
    assert np.array_equal(await later, expected_rows("a"))


async def test_caller_cancelled_before_the_request_starts_blocks_nobody(slow: SlowEmbedder) -> None:
    embedder = cached_embedder(slow)
    caller = asyncio.create_task(embed(embedder, "a"))
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    again = await start(embedder, "a")
    slow.answers[-1].set_result(None)
    assert np.array_equal(await again, expected_rows("a"))


async def test_request_cancelled_externally_before_it_starts_blocks_nobody(
    slow: SlowEmbedder,
) -> None:
    embedder = cached_embedder(slow)
    leader = await start(embedder, "b")
    before = asyncio.all_tasks()
    both = asyncio.create_task(embed(embedder, "a", "b"))
    await asyncio.sleep(0)
    (request,) = asyncio.all_tasks() - before - {both}
    request.cancel()
    await turns()
    again = await start(embedder, "a")
    for answer in slow.answers:
        answer.set_result(None)
    assert np.array_equal(await again, expected_rows("a"))
    assert np.array_equal(await leader, expected_rows("b"))
    with pytest.raises(Unavailable):
        await both


@pytest.mark.parametrize("fails", [False, True])
async def test_request_that_ends_after_its_cancellation_affects_no_other(
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
    embedder = cached_embedder(late)
    first = await start(embedder, "a")
    first.cancel()
    await turns()
    second = await start(embedder, "a")
    if fails:
        late.answers[0].set_exception(ValueError())
    else:
        late.answers[0].set_result(None)
    await turns()
    third = await start(embedder, "a", "b")
    assert embedder.used_bytes == (0 if fails else ENTRY_BYTES)
    assert [texts for texts, _ in late.calls] == [["a"], ["a"], ["b"]]
    late.answers[1].set_result(None)
    late.answers[2].set_result(None)
    assert np.array_equal(await second, expected_rows("a"))
    assert np.array_equal(await third, expected_rows("a", "b"))
    assert embedder.used_bytes == 2 * ENTRY_BYTES


async def test_caller_cancelled_as_the_failure_arrives_is_cancelled(slow: SlowEmbedder) -> None:
    caller = await start(cached_embedder(slow), "a")
    slow.answers[0].set_exception(ValueError())
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    assert caller.cancelled()


async def test_externally_cancelled_request_is_unavailable(slow: SlowEmbedder) -> None:
    caller = await start(cached_embedder(slow), "a")
    slow.answers[0].cancel()
    with pytest.raises(Unavailable):
        await caller
