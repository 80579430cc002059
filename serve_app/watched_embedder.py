"""Tells of calls to the embedder that found nobody to answer."""

from collections.abc import Callable, Sequence

from deployments.domain.errors import Unavailable
from deployments.domain.ports import BatchedEmbedder
from deployments.domain.types import Embeddings, ModelIdentity, TextKind, TextsOfKind


class WatchedEmbedder:
    """The BatchedEmbedder port over another. What fails in the model the replica counts itself;
    it cannot count what never came to it, or came too late: `failed` is told of that, once for
    each kind of text in the call."""

    def __init__(self, inner: BatchedEmbedder, failed: Callable[[TextKind, Exception], None]):
        self._inner = inner
        self._failed = failed
        self.identity = inner.identity
        self.has = inner.has

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        try:
            return await self._inner.embed(texts, kind, identity)
        except Unavailable as error:
            self._failed(kind, error)
            raise

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        try:
            return await self._inner.embed_each(callers, identity)
        except Unavailable as error:
            for kind in sorted({kind for _, kind in callers}):
                self._failed(kind, error)
            raise
