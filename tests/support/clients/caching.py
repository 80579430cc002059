"""The embedding cache over a fake embedder."""

import numpy as np

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from serve_app.clients.embedding.cached import CachedEmbedder
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder, embed_words

ENTRY_BYTES = 49 + 33 + 4 * IDENTITY.dimensions + 160
"""A digest and a row, both with their objects' headers, and the entry's place in the cache."""


class Counts:
    """The hits and misses that the cache reports, one entry for each report."""

    def __init__(self) -> None:
        self.hits: list[int] = []
        self.misses: list[int] = []


def cached_embedder(
    inner: FakeEmbedder, counts: Counts | None = None, max_bytes: int = 100 * ENTRY_BYTES
) -> CachedEmbedder:
    counts = counts or Counts()
    return CachedEmbedder(
        inner,
        max_bytes,
        observe_hits=counts.hits.append,
        observe_misses=counts.misses.append,
    )


async def embed(
    embedder: CachedEmbedder,
    *texts: str,
    kind: TextKind = "query",
    identity: ModelIdentity = IDENTITY,
) -> Embeddings:
    return await embedder.embed(texts, kind, identity)


def expected_rows(*texts: str) -> Embeddings:
    return np.stack([embed_words(text) for text in texts])
