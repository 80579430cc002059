"""Memories that change and expire, and searches as of a time before."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from deployments.domain.memories import Memory, MemoryPatch, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.store import PostgresStore
from tests.support.fakes.embedder import IDENTITY, embed_words

_BY_SIMILARITY = Ranking(1.0)


async def add(
    store: PostgresStore, *contents: str, expires_at: datetime | None = None
) -> list[Memory]:
    generation = await store.generations.adopt_generation(IDENTITY)
    memories = [
        NewMemory(uuid7(), "agent", "user", content, expires_at=expires_at) for content in contents
    ]
    vectors = np.stack([embed_words(content) for content in contents])
    return await store.inserts.insert(memories, vectors, generation, None)


async def change(store: PostgresStore, memory_id: UUID, content: str) -> None:
    patch = MemoryPatch(content)
    await store.memories.update("agent", memory_id, patch, embed_words(content), 1, None)


async def search(
    store: PostgresStore, text: str, as_of: datetime | None, ranking: Ranking = _BY_SIMILARITY
) -> list[Memory]:
    query = SearchQuery("agent", "user", text, 50, ranking, as_of=as_of)
    return await store.searches.search(query, embed_words(text), 1, None)


async def contents(store: PostgresStore, as_of: datetime) -> list[str]:
    return sorted(hit.content for hit in await search(store, "a fox", as_of))


async def expired(store: PostgresStore, *texts: str) -> tuple[list[Memory], datetime]:
    """Memories that have just expired, and a time at which they had not."""
    memories = await add(store, *texts, expires_at=datetime.now(UTC) + timedelta(milliseconds=200))
    await asyncio.sleep(0.005)
    then = datetime.now(UTC)
    await asyncio.sleep(0.22)
    return memories, then
