"""The models that answer in this cluster: the one that the settings name, and, once memories have
been moved to another, that one, in an application of its own."""

from collections.abc import Awaitable, Callable, Sequence

from deployments.domain.errors import GenerationRetired, Unavailable
from deployments.domain.ports import BatchedEmbedder
from deployments.domain.types import Embeddings, ModelIdentity, TextKind, TextsOfKind

Find = Callable[[ModelIdentity], Awaitable[BatchedEmbedder | None]]
"""The embedder that was brought up beside the graph for a model; None where there is none."""


class Embedders:
    """The BatchedEmbedder port: each call goes to the one that has its model."""

    def __init__(self, home: BatchedEmbedder, find: Find) -> None:
        self._home = home
        self._find = find
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
        embedder = await self._of(identity)
        try:
            return await embedder.embed(texts, kind, identity)
        except Unavailable:
            await self._check_there(identity)
            raise

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        embedder = await self._of(identity)
        try:
            return await embedder.embed_each(callers, identity)
        except Unavailable:
            await self._check_there(identity)
            raise

    async def _of(self, identity: ModelIdentity) -> BatchedEmbedder:
        """Raises GenerationRetired where none has that model."""
        if identity in self._others:
            return self._others[identity]
        if identity == (self._home_identity or await self.identity()):
            return self._home
        found = await self._find(identity)
        if found is None:
            raise GenerationRetired
        self._others[identity] = found
        return found

    async def _check_there(self, identity: ModelIdentity) -> None:
        """Raises GenerationRetired where the embedder that does not answer was taken away."""
        if identity in self._others and await self._find(identity) is None:
            self._others.pop(identity, None)
            raise GenerationRetired
