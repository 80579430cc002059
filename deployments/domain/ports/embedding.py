"""Ports that turn texts into embeddings."""

from collections.abc import Sequence
from typing import Protocol

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind


class Encoder(Protocol):
    """A model in this process."""

    @property
    def identity(self) -> ModelIdentity: ...

    def encode(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """`(len(texts), dimensions) float32`, L2-normalised rows, in the order of `texts`."""
        ...


class Embedder(Protocol):
    """Turns texts into embeddings, in this process or another. Raises Unavailable."""

    async def identity(self) -> ModelIdentity:
        """The identity of the model that the settings name."""
        ...

    async def has(self, identity: ModelIdentity) -> bool:
        """Whether this model is served. If memories have been moved to another model, it may differ
        from the one in the settings. Raises Unavailable if it is served but does not answer now."""
        ...

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        """`(len(texts), dimensions) float32`, L2-normalised rows, in the order of `texts`.

        Raises Unavailable also if a model other than `identity` answers, which can happen while one
        version of the graph replaces another; GenerationRetired if the model was removed because
        the memories have been moved to another one.
        """
        ...


class BatchedEmbedder(Embedder, Protocol):
    """An Embedder that also takes several callers' texts at once, of any kinds."""

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        """`(all texts, dimensions) float32`: the rows of all callers, in order. Raises as `embed`
        does."""
        ...
