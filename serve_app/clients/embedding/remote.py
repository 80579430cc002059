"""The Embedder's handle as its port: long texts are sent in slices."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from ray.serve.handle import DeploymentHandle

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.ports.embedding import BatchedEmbedder
from serve_app.clients.edge import Call, Edge
from serve_app.clients.policies import Remote, retried

# One call to the embedder carries so many characters, about 0.1 s of work, and all callers with
# more have so many such calls under way. The largest batch of long texts then neither outlasts a
# call's deadline nor makes others, with a few short texts, wait for all of it.
_SLICE_CHARS = 8_000
_SLICES_AT_ONCE = 4


class RemoteEmbedder(Remote):
    """The BatchedEmbedder port. Embedding twice is harmless: calls are retried."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        super().__init__(Edge("embedder", handle, timeout_s))
        self._turn = asyncio.Semaphore(_SLICES_AT_ONCE)

    identity = retried(BatchedEmbedder.identity)
    embed_each = retried(BatchedEmbedder.embed_each)  # the caller bounds its size

    async def has(self, identity: ModelIdentity) -> bool:
        return await self.identity() == identity

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        slices = list(slices_of(texts, _SLICE_CHARS))
        if len(slices) == 1:
            return await self._embed(texts, kind, identity)

        async def embed_in_turn(part: Sequence[str]) -> Embeddings:
            async with self._turn:
                return await self._embed(part, kind, identity)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(embed_in_turn(part)) for part in slices]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return np.concatenate([task.result() for task in tasks])

    async def _embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        rows: Embeddings = await self._edge.retried(Call("embed", (texts, kind, identity)))
        return rows


def slices_of(texts: Sequence[str], max_chars: int) -> Iterator[Sequence[str]]:
    """`texts` in order, in slices of at most `max_chars` characters, or of one text."""
    start = chars = 0
    for end, text in enumerate(texts):
        if end > start and chars + len(text) > max_chars:
            yield texts[start:end]
            start, chars = end, 0
        chars += len(text)
    yield texts[start:]
