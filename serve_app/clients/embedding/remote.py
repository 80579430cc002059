"""The Embedder's handle as its port; splits large calls into slices."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from ray.serve.handle import DeploymentHandle

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.ports.embedding import BatchedEmbedder
from serve_app.clients.edge import Call, Edge
from serve_app.clients.policies import Remote, retried

# Limits on the characters of one call, about 0.1 s of work, and on the calls that all callers with
# more text have in flight together. So the largest batch of long texts does not exceed a call's
# deadline, and callers with a few short texts do not wait for all of it.
_SLICE_CHARS = 8_000
_SLICES_AT_ONCE = 4


class RemoteEmbedder(Remote):
    """The BatchedEmbedder port. Calls are retried, because embedding twice is harmless."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        super().__init__(Edge("embedder", handle, timeout_s))
        self._slots = asyncio.Semaphore(_SLICES_AT_ONCE)

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

        async def embed_slice(part: Sequence[str]) -> Embeddings:
            async with self._slots:
                return await self._embed(part, kind, identity)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(embed_slice(part)) for part in slices]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return np.concatenate([task.result() for task in tasks])

    async def _embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        rows: Embeddings = await self._edge.retried(Call("embed", (texts, kind, identity)))
        return rows


def slices_of(texts: Sequence[str], max_chars: int) -> Iterator[Sequence[str]]:
    """`texts` in order, in slices of at most `max_chars` characters; a longer text has its own
    slice."""
    start = chars = 0
    for end, text in enumerate(texts):
        if end > start and chars + len(text) > max_chars:
            yield texts[start:end]
            start, chars = end, 0
        chars += len(text)
    yield texts[start:]
