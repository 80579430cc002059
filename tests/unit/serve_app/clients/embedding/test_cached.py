"""The embedding cache: what is asked for, what is kept, what is shared, and what is not."""

from collections.abc import Sequence

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from tests.support.clients.caching import ENTRY_BYTES, Counted, cached, embed, expected
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


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
