"""Shorthand for the contract suite's calls to a store."""

from typing import Any

import numpy as np

from deployments.domain.memories import Memory, NewMemory
from deployments.domain.ports.store import BatchedStore
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from tests.support.fakes.embedder import embed_words


class Scope:
    """One scope of a store, with shorter forms of the calls that most tests make."""

    def __init__(self, store: BatchedStore, generation: int, agent: str, user: str) -> None:
        self.store, self.generation, self.agent, self.user = store, generation, agent, user

    async def add(self, *contents: str, **fields: Any) -> list[Memory]:
        """Insert one memory for each content, all with the same `fields`."""
        memories = [
            NewMemory(uuid7(), self.agent, self.user, content, **fields) for content in contents
        ]
        embeddings = np.stack([embed_words(content) for content in contents])
        return await self.store.inserts.insert(memories, embeddings, self.generation, None)

    async def search(self, text: str, **fields: Any) -> list[Memory]:
        query = SearchQuery(self.agent, self.user, text, **fields)
        vectors = np.stack([embed_words(each) for each in query.chunks or [text]])
        embedding = vectors if query.chunks else vectors[0]
        return await self.store.searches.search(query, embedding, self.generation, None)
