"""The embedding cache: what is asked for, what is kept, what is shared, and what is not."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from serve_app.clients.embedding.cached import CachedEmbedder
from tests.support.event_loop import turns
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder, embed_words

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

ENTRY_BYTES = 49 + 33 + 4 * IDENTITY.dimensions + 160
"""A digest, a row (both with their objects' headers), and the place in the cache."""


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


class Counted:
    """Hits and misses, as they are told."""

    def __init__(self) -> None:
        self.hits: list[int] = []
        self.misses: list[int] = []


@pytest.fixture
def inner() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def slow() -> SlowEmbedder:
    return SlowEmbedder()


@pytest.fixture
def counted() -> Counted:
    return Counted()


def cached(
    inner: FakeEmbedder, counted: Counted | None = None, max_bytes: int = 100 * ENTRY_BYTES
) -> CachedEmbedder:
    counted = counted or Counted()
    return CachedEmbedder(
        inner,
        max_bytes,
        observe_hits=counted.hits.append,
        observe_misses=counted.misses.append,
    )


async def embed(
    embedder: CachedEmbedder,
    *texts: str,
    kind: TextKind = "query",
    identity: ModelIdentity = IDENTITY,
) -> Embeddings:
    return await embedder.embed(texts, kind, identity)


def expected(*texts: str) -> Embeddings:
    return np.stack([embed_words(text) for text in texts])


async def begun(embedder: CachedEmbedder, *texts: str) -> asyncio.Task[Embeddings]:
    task = asyncio.create_task(embed(embedder, *texts))
    await turns()
    return task


async def test_a_text_is_asked_for_once(inner: FakeEmbedder, counted: Counted) -> None:
    embedder = cached(inner, counted)
    first = await embed(embedder, "a cat")
    again = await embed(embedder, "a cat")
    assert np.array_equal(first, expected("a cat"))
    assert np.array_equal(again, first)
    assert again.dtype == np.float32
    assert inner.calls == [(["a cat"], "query")]
    assert (counted.hits, counted.misses) == ([1], [1])


async def test_only_what_is_missing_is_asked_for_in_one_call_and_the_order_stays(
    inner: FakeEmbedder, counted: Counted
) -> None:
    embedder = cached(inner, counted)
    await embed(embedder, "b", "d")
    texts = ["a", "b", "c", "d", "e"]
    assert np.array_equal(await embed(embedder, *texts), expected(*texts))
    assert inner.calls[1:] == [(["a", "c", "e"], "query")]
    assert (counted.hits, counted.misses) == ([2], [2, 3])


async def test_duplicates_in_one_call_are_asked_for_once(
    inner: FakeEmbedder, counted: Counted
) -> None:
    texts = ["a", "b", "a", "a", "b"]
    assert np.array_equal(await embed(cached(inner, counted), *texts), expected(*texts))
    assert inner.calls == [(["a", "b"], "query")]
    assert (counted.hits, counted.misses) == ([3], [2])


async def test_no_texts() -> None:
    class Empty(FakeEmbedder):
        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            return np.empty((len(texts), identity.dimensions), dtype=np.float32)

    assert (await embed(cached(Empty()))).shape == (0, IDENTITY.dimensions)


@pytest.mark.parametrize(
    "other",
    [
        ModelIdentity("fake/other", "1", "fp32", 384),
        ModelIdentity("fake/words", "2", "fp32", 384),
        ModelIdentity("fake/words", "1", "int8", 384),
        ModelIdentity("fake/words", "1", "fp32", 383),
    ],
)
async def test_another_identity_never_hits(inner: FakeEmbedder, other: ModelIdentity) -> None:
    embedder = cached(inner)
    await embed(embedder, "a")
    with pytest.raises(Unavailable):  # which is what the inner one says to it
        await embed(embedder, "a", identity=other)


async def test_another_kind_never_hits(inner: FakeEmbedder) -> None:
    embedder = cached(inner)
    await embed(embedder, "a", kind="query")
    await embed(embedder, "a", kind="passage")
    assert inner.calls == [(["a"], "query"), (["a"], "passage")]


@pytest.mark.parametrize("other", ["A", "a ", " a", "a\n", "á", "a\u0301", ""])
async def test_texts_are_compared_exactly(inner: FakeEmbedder, other: str) -> None:
    embedder = cached(inner)
    await embed(embedder, "a")
    await embed(embedder, other)
    assert [texts for texts, _ in inner.calls] == [["a"], [other]]


async def test_the_least_recently_used_goes_first(inner: FakeEmbedder) -> None:
    embedder = cached(inner, max_bytes=3 * ENTRY_BYTES)
    await embed(embedder, "a", "b", "c")
    await embed(embedder, "a")
    await embed(embedder, "d")
    inner.calls.clear()
    await embed(embedder, "c", "a", "d")
    assert inner.calls == []
    await embed(embedder, "b")
    assert inner.calls == [(["b"], "query")]


async def test_what_is_kept_stays_within_the_bound(inner: FakeEmbedder) -> None:
    embedder = cached(inner, max_bytes=4 * ENTRY_BYTES - 1)
    used = []
    for start in range(0, 40, 4):
        texts = [f"{n} " * 500 for n in range(start, start + 4)]  # the rows' size, not the texts'
        assert np.array_equal(await embed(embedder, *texts), expected(*texts))
        used.append(embedder.used_bytes)
    assert used == [3 * ENTRY_BYTES] * 10


async def test_a_row_larger_than_the_bound_is_not_kept(inner: FakeEmbedder) -> None:
    embedder = cached(inner, max_bytes=ENTRY_BYTES - 1)
    for _ in range(2):
        assert np.array_equal(await embed(embedder, "a"), expected("a"))
    assert len(inner.calls) == 2
    assert embedder.used_bytes == 0


async def test_switched_off_it_hands_everything_through(
    inner: FakeEmbedder, counted: Counted
) -> None:
    embedder = cached(inner, counted, max_bytes=0)
    for _ in range(2):
        await embed(embedder, "a", "a")
    assert inner.calls == [(["a", "a"], "query")] * 2
    assert (counted.hits, counted.misses) == ([], [])
    assert embedder.used_bytes == 0


async def test_a_caller_that_changes_its_rows_changes_nobody_elses(inner: FakeEmbedder) -> None:
    embedder = cached(inner)
    for _ in range(3):
        rows = await embed(embedder, "a", "b", "a")
        assert np.array_equal(rows, expected("a", "b", "a"))
        rows[:] = 0


async def test_an_inner_embedder_that_changes_its_rows_later_changes_nothing() -> None:
    class Reused(FakeEmbedder):
        buffer = np.empty((1, IDENTITY.dimensions), dtype=np.float32)

        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            self.buffer[:] = expected(*texts)
            return self.buffer

    embedder = cached(Reused())
    rows = [await embed(embedder, text) for text in "aba"]
    assert np.array_equal(np.concatenate(rows), expected(*"aba"))


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


async def test_too_few_rows_are_a_fault_and_not_kept() -> None:
    class Short(FakeEmbedder):
        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            return expected("x")

    embedder = cached(Short())
    with pytest.raises(RuntimeError, match="2 texts came back as 1 rows"):
        await embed(embedder, "a", "b")
    assert embedder.used_bytes == 0


async def test_the_identity_is_the_inner_ones(inner: FakeEmbedder) -> None:
    embedder = cached(inner)
    assert await embedder.identity() == IDENTITY
    inner.down = True
    with pytest.raises(Unavailable):
        await embedder.identity()
