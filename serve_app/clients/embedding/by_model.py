"""The models that this cluster serves: the one that the settings name and, after memories were
re-embedded with another model, that one, in an application of its own."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind
from deployments.domain.errors import GenerationRetired, Unavailable
from deployments.domain.ports.embedding import BatchedEmbedder

FindEmbedder = Callable[[ModelIdentity], Awaitable[BatchedEmbedder | None]]
"""Finds the embedder that serves a model in an application of its own; None if there is none."""

ObserveFailure = Callable[[TextKind, Exception], None]


def _ignore(_kind: TextKind, _error: Exception) -> None:
    pass


class EmbedderByModel:
    """The BatchedEmbedder port: each call goes to the embedder that serves its model.

    `observe_failure` is called once for each kind of text in a call that raises Unavailable. A
    replica itself counts its model's failures, but not the calls that never reached it or timed
    out.
    """

    def __init__(
        self,
        graph_embedder: BatchedEmbedder,
        find: FindEmbedder,
        observe_failure: ObserveFailure = _ignore,
    ) -> None:
        """`graph_embedder` serves the settings' model; `find` finds all others."""
        self._graph_embedder = graph_embedder
        self._find = find
        self._observe_failure = observe_failure
        self._graph_identity: ModelIdentity | None = None
        self._found: dict[ModelIdentity, BatchedEmbedder] = {}

    async def identity(self) -> ModelIdentity:
        self._graph_identity = await self._graph_embedder.identity()
        return self._graph_identity

    async def has(self, identity: ModelIdentity) -> bool:
        try:
            embedder = await self._embedder_for(identity)
        except GenerationRetired:
            return False
        return await embedder.has(identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        with self._observe_failures([kind]):
            embedder = await self._embedder_for(identity)
            try:
                return await embedder.embed(texts, kind, identity)
            except Unavailable:
                await self._check_served(identity)
                raise

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        with self._observe_failures(sorted({kind for _, kind in callers})):
            embedder = await self._embedder_for(identity)
            try:
                return await embedder.embed_each(callers, identity)
            except Unavailable:
                await self._check_served(identity)
                raise

    async def _embedder_for(self, identity: ModelIdentity) -> BatchedEmbedder:
        """Raises GenerationRetired if no embedder serves the model."""
        if identity in self._found:
            return self._found[identity]
        if identity == (self._graph_identity or await self.identity()):
            return self._graph_embedder
        embedder = await self._find(identity)
        if embedder is None:
            raise GenerationRetired
        self._found[identity] = embedder
        return embedder

    async def _check_served(self, identity: ModelIdentity) -> None:
        """Raises GenerationRetired if the embedder, which does not answer, was removed."""
        if identity in self._found and await self._find(identity) is None:
            self._found.pop(identity, None)
            raise GenerationRetired

    @contextmanager
    def _observe_failures(self, kinds: Iterable[TextKind]) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            for kind in kinds:
                self._observe_failure(kind, error)
            raise
