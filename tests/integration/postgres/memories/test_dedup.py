"""Writes of what is there already, to the letter, where they touch it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deployments.domain.memories import InsertCall, Memory, MemoryType, NewMemory
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import IDENTITY, embed_words

NOW = datetime.now(UTC)


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    pool = Pool(dsn, StoreSettings())
    yield build_store(pool, StoreSettings(), dedup="touch")
    await pool.close()


def new(content: str, agent: str = "agent", user: str = "user", **fields: Any) -> NewMemory:
    return NewMemory(uuid7(), agent, user, content, **fields)


def call(generation: int, *memories: NewMemory) -> InsertCall:
    vectors = np.stack([embed_words(memory.content) for memory in memories])
    return InsertCall(memories, vectors, generation, None)


async def add(store: PostgresStore, *memories: NewMemory) -> list[Memory]:
    asked = call(await store.generations.adopt_generation(IDENTITY), *memories)
    return await store.inserts.insert(asked.memories, asked.embeddings, asked.generation, None)


async def test_the_same_again_is_newer(store: PostgresStore) -> None:
    old = NOW - timedelta(days=9)
    (first,) = await add(store, new("a fox", metadata={"k": [1, "a"]}, created_at=old))
    (again,) = await add(store, new("a fox", metadata={"k": [1, "a"]}))
    assert again.id == first.id
    assert again.created_at >= NOW
    (imported,) = await add(store, new("a fox", metadata={"k": [1, "a"]}, created_at=old))
    assert (imported.id, imported.created_at) == (first.id, again.created_at)
    assert await store.memories.count("agent", None) == 1
    assert await store.memories.history("agent", first.id, None, 10) == []
    query = SearchQuery("agent", "user", "fox")
    (hit,) = await store.searches.search(query, embed_words("fox"), 1, None)
    assert (hit.id, hit.created_at) == (first.id, again.created_at)


@pytest.mark.parametrize(
    "other",
    [
        new("A fox"),
        new("a fox "),
        new("a fox", agent="another"),
        new("a fox", user="another"),
        new("a fox", importance=2.0),
        new("a fox", memory_type=MemoryType.SEMANTIC),
        new("a fox", metadata={"k": 1}),
    ],
)
async def test_what_differs_is_another(store: PostgresStore, other: NewMemory) -> None:
    (first,) = await add(store, new("a fox"))
    (second,) = await add(store, other)
    assert second.id == other.id != first.id


@pytest.mark.parametrize("content", ["a fox", "?!", "the the the", "狐狸在睡觉"])
async def test_alike_in_one_batch(store: PostgresStore, content: str) -> None:
    memories = [new(content), new("an owl"), new(content)]
    stored = await add(store, *memories)
    assert [memory.content for memory in stored] == [content, "an owl", content]
    assert stored[0] == stored[2]
    assert await store.memories.count("agent", None) == 2
    again = await add(store, new(content))
    assert again[0].id == stored[0].id


async def test_calls_that_come_together(store: PostgresStore) -> None:
    generation = await store.generations.adopt_generation(IDENTITY)
    calls = [call(generation, new("a fox")), call(generation, new("an owl"), new("a fox"))]
    (first,), (owl, fox) = await store.inserts.insert_each(calls)  # type: ignore[misc]
    assert (fox, owl.content) == (first, "an owl")
    assert await store.memories.count("agent", None) == 2


async def test_at_once_they_are_one(store: PostgresStore) -> None:
    texts = ["a fox", "an owl", "a bear"]

    async def write(n: int) -> list[Memory]:
        turned = texts[n % 3 :] + texts[: n % 3]
        return await add(store, *(new(text) for text in turned))

    await asyncio.gather(*(write(n) for n in range(30)))
    assert await store.memories.count("agent", None) == 3


async def test_the_longer_life_wins(store: PostgresStore) -> None:
    day, week = NOW + timedelta(days=1), NOW + timedelta(days=7)

    async def ends(*lives: datetime | None) -> datetime | None:
        content = f"a fox, {uuid7()}"
        for life in lives:
            (stored,) = await add(store, new(content, expires_at=life))
        return stored.expires_at

    assert await ends(day, week) == week
    assert await ends(week, day) == week
    assert await ends(day, None) is None
    assert await ends(None, day) is None
    over = NOW - timedelta(seconds=1)
    assert await ends(over, day) == day
