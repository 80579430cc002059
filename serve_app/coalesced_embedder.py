"""The embedder's edge: callers that come while calls are under way travel in the next one."""

from collections.abc import Callable, Sequence

import numpy as np

from deployments.domain.ports import BatchedEmbedder
from deployments.domain.types import Embeddings, ModelIdentity, TextKind, TextsOfKind
from serve_app.coalescing import Bounds, Coalescer

# Callers' texts in one call: about 0.1 s of work. What one caller brings beyond it makes calls of
# its own, and others do not wait for it in a queue.
_CALL_CHARS = 8_000


class CoalescedEmbedder:
    """The Embedder port in front of another. A call to a deployment costs some milliseconds of CPU
    whatever it carries, so under load fewer calls with more in each answer more callers."""

    def __init__(
        self,
        inner: BatchedEmbedder,
        bounds: Bounds,
        observe: Callable[[int], None] | None = None,
        shed: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._bounds = bounds
        self._observe, self._shed = observe, shed
        self._edges: dict[ModelIdentity, _Edge] = {}

    async def identity(self) -> ModelIdentity:
        return await self._inner.identity()

    async def has(self, identity: ModelIdentity) -> bool:
        return await self._inner.has(identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        """As the port says. Raises Unavailable at once where too many callers wait already."""
        if _chars(texts) > _CALL_CHARS:
            return await self._inner.embed(texts, kind, identity)
        return await self._edge(identity).submit((texts, kind))

    def _edge(self, identity: ModelIdentity) -> "_Edge":
        """Texts for two models never meet in one call."""
        edge = self._edges.get(identity)
        if edge is None:

            async def call(callers: list[TextsOfKind]) -> list[Embeddings]:
                rows = await self._inner.embed_each(callers, identity)
                ends = np.cumsum([len(texts) for texts, _ in callers])
                return np.split(rows, ends[:-1])

            edge = self._edges[identity] = Coalescer(
                call,
                "embedder",
                self._bounds,
                size=lambda caller: _chars(caller[0]),
                max_batch_size=_CALL_CHARS,
                observe=self._observe,
                shed=self._shed,
            )
        return edge


_Edge = Coalescer[TextsOfKind, Embeddings]


def _chars(texts: Sequence[str]) -> int:
    return sum(map(len, texts))
