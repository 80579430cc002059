"""Long texts are embedded in slices."""

import asyncio
from typing import Any

import numpy as np
import pytest

from deployments.domain.errors import Unavailable
from serve_app.clients.embedding.remote import RemoteEmbedder, slices_of
from tests.support.clients.handles import Handle
from tests.support.fakes.embedder import IDENTITY, embed_words


async def test_long_texts_are_sent_in_slices_and_returned_in_order() -> None:
    async def encode(texts: list[str], _kind: str, _identity: object) -> Any:
        await asyncio.sleep(0.01 / len(texts[0]))
        return np.stack([embed_words(text) for text in texts])

    texts = [str(n) + "x" * (n % 7) * 1_000 for n in range(40)]
    handle = Handle(encode)
    rows = await RemoteEmbedder(handle, 5).embed(texts, "passage", IDENTITY)
    assert np.array_equal(rows, np.stack([embed_words(text) for text in texts]))
    assert 10 < len(handle.calls) < 40
    assert all(sum(map(len, args[0])) <= 8_000 for args in handle.calls)


async def test_failing_slice_fails_the_call_with_its_error() -> None:
    handle = Handle(Unavailable("embedder"))
    with pytest.raises(Unavailable, match="embedder"):
        await RemoteEmbedder(handle, 5).embed(["x" * 6_000] * 5, "passage", IDENTITY)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([1], [[1]]), ([5, 5, 5], [[5, 5], [5]]), ([20, 1], [[20], [1]]), ([1, 20], [[1], [20]])],
)
def test_slices_respect_the_size_limit(lengths: list[int], expected: list[list[int]]) -> None:
    texts = ["x" * length for length in lengths]
    assert [[len(text) for text in part] for part in slices_of(texts, 10)] == expected
