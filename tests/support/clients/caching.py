"""The embedding cache over an embedder, as its tests build it."""

import numpy as np

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from serve_app.clients.embedding.cached import CachedEmbedder
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder, embed_words

ENTRY_BYTES = 49 + 33 + 4 * IDENTITY.dimensions + 160
"""A digest, a row (both with their objects' headers), and the place in the cache."""


class Counted:
    """Hits and misses, as they are told."""

    def __init__(self) -> None:
        self.hits: list[int] = []
        self.misses: list[int] = []


def cached(
    inner: FakeEmbedder, counted: Counted | None = None, max_bytes: int = 100 * ENTRY_BYTES
) -> CachedEmbedder:
    counted = counted or Counted()
    return CachedEmbedder(
        inner,
        max_bytes,
        observe_hits=counted.hits.append,
        observe_misses=counted.misses.append,
    )


async def embed(
    embedder: CachedEmbedder,
    *texts: str,
    kind: TextKind = "query",
    identity: ModelIdentity = IDENTITY,
) -> Embeddings:
    return await embedder.embed(texts, kind, identity)


def expected(*texts: str) -> Embeddings:
    return np.stack([embed_words(text) for text in texts])
