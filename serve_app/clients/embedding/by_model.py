"""The models that are served in this cluster: the one that the settings name and, once memories
have been moved to another, that one, in an application of its own."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind
from deployments.domain.errors import GenerationRetired, Unavailable
from deployments.domain.ports.embedding import BatchedEmbedder

Find = Callable[[ModelIdentity], Awaitable[BatchedEmbedder | None]]
"""The embedder served beside the graph for a model; None if there is none."""

ObserveFailure = Callable[[TextKind, Exception], None]


def _ignore(_kind: TextKind, _error: Exception) -> None:
    pass


class EmbedderByModel:
    """The BatchedEmbedder port: each call goes to the embedder that serves its model.

    `observe_failure` is called once for each kind of text in a call that found nobody to answer: a
    replica counts what fails in its model itself, but not what never reached it or came too late.
    """

    def __init__(
        self, home: BatchedEmbedder, find: Find, observe_failure: ObserveFailure = _ignore
    ) -> None:
        self._home = home
        self._find = find
        self._observe_failure = observe_failure
        self._home_identity: ModelIdentity | None = None
        self._others: dict[ModelIdentity, BatchedEmbedder] = {}

    async def identity(self) -> ModelIdentity:
        self._home_identity = await self._home.identity()
        return self._home_identity

    async def has(self, identity: ModelIdentity) -> bool:
        try:
            embedder = await self._of(identity)
        except GenerationRetired:
            return False
        return await embedder.has(identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        with self._observed([kind]):
            embedder = await self._of(identity)
            try:
                return await embedder.embed(texts, kind, identity)
            except Unavailable:
                await self._check_served(identity)
                raise

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        with self._observed(sorted({kind for _, kind in callers})):
            embedder = await self._of(identity)
            try:
                return await embedder.embed_each(callers, identity)
            except Unavailable:
                await self._check_served(identity)
                raise

    async def _of(self, identity: ModelIdentity) -> BatchedEmbedder:
        """Raises GenerationRetired if no embedder serves that model."""
        if identity in self._others:
            return self._others[identity]
        if identity == (self._home_identity or await self.identity()):
            return self._home
        found = await self._find(identity)
        if found is None:
            raise GenerationRetired
        self._others[identity] = found
        return found

    async def _check_served(self, identity: ModelIdentity) -> None:
        """Raises GenerationRetired if the embedder that does not answer was taken away."""
        if identity in self._others and await self._find(identity) is None:
            self._others.pop(identity, None)
            raise GenerationRetired

    @contextmanager
    def _observed(self, kinds: Iterable[TextKind]) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            for kind in kinds:
                self._observe_failure(kind, error)
            raise
