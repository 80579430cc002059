import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind
from deployments.domain.errors import Unavailable
from serve_app.clients.coalescer import Bounds
from serve_app.clients.embedding.coalesced import CoalescedEmbedder
from tests.support.event_loop import turns
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder, embed_words


class HeldEmbedder(FakeEmbedder):
    """Answers once `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.batches: list[list[TextsOfKind]] = []

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        self.batches.append(list(callers))
        return await super().embed_each(callers, identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        rows = await super().embed(texts, kind, identity)
        await self.go.wait()
        return rows


async def test_callers_share_the_next_call_while_one_is_under_way() -> None:
    inner, sizes = HeldEmbedder(), list[int]()
    embedder = CoalescedEmbedder(inner, Bounds(1, 32, 100), observe_batch=sizes.append)
    first = asyncio.create_task(embedder.embed(["first"], "query", IDENTITY))
    await turns()
    rest = [
        asyncio.create_task(embedder.embed([f"a {n}", f"b {n}"][: 1 + n % 2], "query", IDENTITY))
        for n in range(5)
    ]
    passage = asyncio.create_task(embedder.embed(["p"], "passage", IDENTITY))
    await turns()
    inner.go.set()
    rows = await asyncio.gather(first, *rest, passage)
    assert inner.batches == [
        [(["first"], "query")],
        [
            (["a 0"], "query"),
            (["a 1", "b 1"], "query"),
            (["a 2"], "query"),
            (["a 3", "b 3"], "query"),
            (["a 4"], "query"),
            (["p"], "passage"),
        ],
    ]
    assert sizes == [1, 6]
    assert np.array_equal(rows[2], np.stack([embed_words("a 1"), embed_words("b 1")]))
    assert np.array_equal(rows[-1], embed_words("p")[None])


async def test_large_batch_makes_its_own_call_and_blocks_nobody() -> None:
    inner = HeldEmbedder()
    embedder = CoalescedEmbedder(inner, Bounds(1, 32, 0))
    large = asyncio.create_task(embedder.embed(["x" * 5_000] * 3, "passage", IDENTITY))
    await turns()
    small = asyncio.create_task(embedder.embed(["small"], "passage", IDENTITY))
    await turns()
    assert [len(texts) for texts, _ in inner.calls] == [3, 1]
    inner.go.set()
    assert (await large).shape[0] == 3
    assert (await small).shape[0] == 1


async def test_callers_beyond_the_bound_are_shed_at_once() -> None:
    inner, shed = HeldEmbedder(), list[int]()
    embedder = CoalescedEmbedder(inner, Bounds(1, 32, 2), observe_refusal=lambda: shed.append(1))
    tasks = []
    for n in range(3):
        tasks.append(asyncio.create_task(embedder.embed([str(n)], "query", IDENTITY)))
        await turns()
    with pytest.raises(Unavailable, match="embedder"):
        await embedder.embed(["too many"], "query", IDENTITY)
    assert shed == [1]
    inner.go.set()
    assert len(await asyncio.gather(*tasks)) == 3


async def test_unavailable_embedder_fails_all_callers() -> None:
    inner = FakeEmbedder()
    inner.down = True
    embedder = CoalescedEmbedder(inner, Bounds(1, 32, 100))
    answers = await asyncio.gather(
        *(embedder.embed(["x"], "query", IDENTITY) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(answer, Unavailable) for answer in answers)
