"""An embedder without a model."""

import hashlib
from collections.abc import Sequence

import numpy as np

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind
from deployments.domain.errors import Unavailable

DIMENSIONS = 384
IDENTITY = ModelIdentity("fake/words", "1", "fp32", DIMENSIONS)


def embed_words(text: str) -> Embeddings:
    """A unit vector; texts that share words have near vectors."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    for word in text.lower().split() or [text]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        vector += np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


class FakeEmbedder:
    """The BatchedEmbedder port. `down` makes it unavailable; `other_identities` are the models it
    serves besides IDENTITY; `calls` records what it embedded."""

    def __init__(self) -> None:
        self.down = False
        self.other_identities: set[ModelIdentity] = set()
        self.calls: list[tuple[list[str], TextKind]] = []

    async def identity(self) -> ModelIdentity:
        if self.down:
            raise Unavailable("embedder")
        return IDENTITY

    async def has(self, identity: ModelIdentity) -> bool:
        return identity in self.other_identities or identity == await self.identity()

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        if self.down or identity not in {IDENTITY, *self.other_identities}:
            raise Unavailable("embedder")
        self.calls.append((list(texts), kind))
        return np.stack([embed_words(text) for text in texts])

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        return np.concatenate([await self.embed(*caller, identity) for caller in callers])
