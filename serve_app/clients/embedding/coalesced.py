"""The embedder's edge: callers that arrive while calls run share the next call."""

from collections.abc import Callable, Sequence

import numpy as np

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind
from deployments.domain.ports.embedding import BatchedEmbedder
from serve_app.clients.coalescer import Bounds, Coalescer

# Characters of the callers' texts in one call: about 0.1 s of work. A caller with more makes its
# own calls, so that others do not wait for it.
_CALL_CHARS = 8_000


class CoalescedEmbedder:
    """The Embedder port over another. A call to a deployment costs some milliseconds of CPU
    whatever its size, so under load fewer calls with more texts serve more callers."""

    def __init__(
        self,
        inner: BatchedEmbedder,
        bounds: Bounds,
        observe_batch: Callable[[int], None] | None = None,
        observe_refusal: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._bounds = bounds
        self._observe_batch, self._observe_refusal = observe_batch, observe_refusal
        self._coalescers: dict[ModelIdentity, Coalescer[TextsOfKind, Embeddings]] = {}

    async def identity(self) -> ModelIdentity:
        return await self._inner.identity()

    async def has(self, identity: ModelIdentity) -> bool:
        return await self._inner.has(identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        """Raises Unavailable at once if too many callers wait."""
        if _chars(texts) > _CALL_CHARS:
            return await self._inner.embed(texts, kind, identity)
        return await self._coalescer(identity).submit((texts, kind))

    def _coalescer(self, identity: ModelIdentity) -> Coalescer[TextsOfKind, Embeddings]:
        """The model's coalescer: texts for different models never share a call."""
        coalescer = self._coalescers.get(identity)
        if coalescer is None:

            async def call(callers: list[TextsOfKind]) -> list[Embeddings]:
                rows = await self._inner.embed_each(callers, identity)
                ends = np.cumsum([len(texts) for texts, _ in callers])
                return np.split(rows, ends[:-1])

            coalescer = self._coalescers[identity] = Coalescer(
                call,
                "embedder",
                self._bounds,
                size=lambda caller: _chars(caller[0]),
                max_batch_size=_CALL_CHARS,
                observe_batch=self._observe_batch,
                observe_refusal=self._observe_refusal,
            )
        return coalescer


def _chars(texts: Sequence[str]) -> int:
    return sum(map(len, texts))
