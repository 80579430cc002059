"""The embedding cache: which texts are embedded, and which rows are cached."""

from collections.abc import Sequence

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from tests.support.clients.caching import ENTRY_BYTES, Counts, cached_embedder, embed, expected_rows
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_text_is_embedded_once(inner: FakeEmbedder, counts: Counts) -> None:
    embedder = cached_embedder(inner, counts)
    first = await embed(embedder, "a cat")
    again = await embed(embedder, "a cat")
    assert np.array_equal(first, expected_rows("a cat"))
    assert np.array_equal(again, first)
    assert again.dtype == np.float32
    assert inner.calls == [(["a cat"], "query")]
    assert (counts.hits, counts.misses) == ([1], [1])


async def test_missing_texts_are_embedded_in_one_call_and_order_is_kept(
    inner: FakeEmbedder, counts: Counts
) -> None:
    embedder = cached_embedder(inner, counts)
    await embed(embedder, "b", "d")
    texts = ["a", "b", "c", "d", "e"]
    assert np.array_equal(await embed(embedder, *texts), expected_rows(*texts))
    assert inner.calls[1:] == [(["a", "c", "e"], "query")]
    assert (counts.hits, counts.misses) == ([2], [2, 3])


async def test_duplicates_in_one_call_are_embedded_once(
    inner: FakeEmbedder, counts: Counts
) -> None:
    texts = ["a", "b", "a", "a", "b"]
    assert np.array_equal(
        await embed(cached_embedder(inner, counts), *texts), expected_rows(*texts)
    )
    assert inner.calls == [(["a", "b"], "query")]
    assert (counts.hits, counts.misses) == ([3], [2])


async def test_no_texts_give_no_rows() -> None:
    class Empty(FakeEmbedder):
        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            return np.empty((len(texts), identity.dimensions), dtype=np.float32)

    assert (await embed(cached_embedder(Empty()))).shape == (0, IDENTITY.dimensions)


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
    embedder = cached_embedder(inner)
    await embed(embedder, "a")
    with pytest.raises(Unavailable):  # raised by the inner embedder
        await embed(embedder, "a", identity=other)


async def test_another_kind_never_hits(inner: FakeEmbedder) -> None:
    embedder = cached_embedder(inner)
    await embed(embedder, "a", kind="query")
    await embed(embedder, "a", kind="passage")
    assert inner.calls == [(["a"], "query"), (["a"], "passage")]


@pytest.mark.parametrize("other", ["A", "a ", " a", "a\n", "á", "a\u0301", ""])
async def test_texts_are_compared_exactly(inner: FakeEmbedder, other: str) -> None:
    embedder = cached_embedder(inner)
    await embed(embedder, "a")
    await embed(embedder, other)
    assert [texts for texts, _ in inner.calls] == [["a"], [other]]


async def test_least_recently_used_row_is_evicted_first(inner: FakeEmbedder) -> None:
    embedder = cached_embedder(inner, max_bytes=3 * ENTRY_BYTES)
    await embed(embedder, "a", "b", "c")
    await embed(embedder, "a")
    await embed(embedder, "d")
    inner.calls.clear()
    await embed(embedder, "c", "a", "d")
    assert inner.calls == []
    await embed(embedder, "b")
    assert inner.calls == [(["b"], "query")]


async def test_cache_size_stays_within_the_bound(inner: FakeEmbedder) -> None:
    embedder = cached_embedder(inner, max_bytes=4 * ENTRY_BYTES - 1)
    used = []
    for start in range(0, 40, 4):
        texts = [
            f"{n} " * 500 for n in range(start, start + 4)
        ]  # the bound is on the rows, not the texts
        assert np.array_equal(await embed(embedder, *texts), expected_rows(*texts))
        used.append(embedder.used_bytes)
    assert used == [3 * ENTRY_BYTES] * 10


async def test_row_larger_than_the_bound_is_not_cached(inner: FakeEmbedder) -> None:
    embedder = cached_embedder(inner, max_bytes=ENTRY_BYTES - 1)
    for _ in range(2):
        assert np.array_equal(await embed(embedder, "a"), expected_rows("a"))
    assert len(inner.calls) == 2
    assert embedder.used_bytes == 0


async def test_disabled_cache_passes_every_call_on(inner: FakeEmbedder, counts: Counts) -> None:
    embedder = cached_embedder(inner, counts, max_bytes=0)
    for _ in range(2):
        await embed(embedder, "a", "a")
    assert inner.calls == [(["a", "a"], "query")] * 2
    assert (counts.hits, counts.misses) == ([], [])
    assert embedder.used_bytes == 0


async def test_changing_returned_rows_does_not_change_the_cache(inner: FakeEmbedder) -> None:
    embedder = cached_embedder(inner)
    for _ in range(3):
        rows = await embed(embedder, "a", "b", "a")
        assert np.array_equal(rows, expected_rows("a", "b", "a"))
        rows[:] = 0


async def test_reused_buffer_of_the_inner_embedder_does_not_change_the_cache() -> None:
    class Reused(FakeEmbedder):
        buffer = np.empty((1, IDENTITY.dimensions), dtype=np.float32)

        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            self.buffer[:] = expected_rows(*texts)
            return self.buffer

    embedder = cached_embedder(Reused())
    rows = [await embed(embedder, text) for text in "aba"]
    assert np.array_equal(np.concatenate(rows), expected_rows(*"aba"))


async def test_too_few_rows_raise_and_are_not_cached() -> None:
    class Short(FakeEmbedder):
        async def embed(
            self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
        ) -> Embeddings:
            return expected_rows("x")

    embedder = cached_embedder(Short())
    with pytest.raises(RuntimeError, match="returned 1 rows for 2 texts"):
        await embed(embedder, "a", "b")
    assert embedder.used_bytes == 0


async def test_identity_comes_from_the_inner_embedder(inner: FakeEmbedder) -> None:
    embedder = cached_embedder(inner)
    assert await embedder.identity() == IDENTITY
    inner.down = True
    with pytest.raises(Unavailable):
        await embedder.identity()
