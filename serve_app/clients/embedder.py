"""The Embedder's handle as its port: much text travels in slices."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from ray.serve.handle import DeploymentHandle

from deployments.domain.types import Embeddings, ModelIdentity, TextKind, TextsOfKind
from serve_app.clients.edge import Edge

# One call to the embedder carries so much text, about 0.1 s of work, and all callers with more have
# so many such calls under way: the largest batch of long texts then neither outlasts a call's
# deadline nor makes others, with few short texts, wait for all of it.
_SLICE_CHARS = 8_000
_SLICES_AT_ONCE = 4


class RemoteEmbedder:
    """The BatchedEmbedder port over its handle. Embedding twice is harmless: calls are retried."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = Edge("embedder", handle, timeout_s)
        self._turn = asyncio.Semaphore(_SLICES_AT_ONCE)

    async def identity(self) -> ModelIdentity:
        identity: ModelIdentity = await self._edge.call_again("identity")
        return identity

    async def has(self, identity: ModelIdentity) -> bool:
        return await self.identity() == identity

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        parts = list(slices(texts, _SLICE_CHARS))
        if len(parts) == 1:
            rows: Embeddings = await self._edge.call_again("embed", texts, kind, identity)
            return rows

        async def embed_slice(part: Sequence[str]) -> Embeddings:
            async with self._turn:
                rows: Embeddings = await self._edge.call_again("embed", part, kind, identity)
                return rows

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(embed_slice(part)) for part in parts]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return np.concatenate([task.result() for task in tasks])

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        """In one call: it is the caller's to bound them."""
        rows: Embeddings = await self._edge.call_again("embed_each", callers, identity)
        return rows


def slices(texts: Sequence[str], max_chars: int) -> Iterator[Sequence[str]]:
    """`texts` in order, in parts of at most `max_chars` characters, or of one text."""
    start = chars = 0
    for end, text in enumerate(texts):
        if end > start and chars + len(text) > max_chars:
            yield texts[start:end]
            start, chars = end, 0
        chars += len(text)
    yield texts[start:]
