"""Writes of identical memories with `dedup` "touch"."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deployments.domain.memories import InsertCall, Memory, MemoryPatch, MemoryType, NewMemory
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


def new_memory(content: str, agent: str = "agent", user: str = "user", **fields: Any) -> NewMemory:
    return NewMemory(uuid7(), agent, user, content, **fields)


def insert_call(generation: int, *memories: NewMemory) -> InsertCall:
    vectors = np.stack([embed_words(memory.content) for memory in memories])
    return InsertCall(memories, vectors, generation, None)


async def add(store: PostgresStore, *memories: NewMemory) -> list[Memory]:
    call = insert_call(await store.generations.adopt_generation(IDENTITY), *memories)
    return await store.inserts.insert(call.memories, call.embeddings, call.generation, None)


async def test_identical_memory_refreshes_created_at(store: PostgresStore) -> None:
    old = NOW - timedelta(days=9)
    (first,) = await add(store, new_memory("a fox", metadata={"k": [1, "a"]}, created_at=old))
    (again,) = await add(store, new_memory("a fox", metadata={"k": [1, "a"]}))
    assert again.id == first.id
    assert again.created_at >= NOW
    (imported,) = await add(store, new_memory("a fox", metadata={"k": [1, "a"]}, created_at=old))
    assert (imported.id, imported.created_at) == (first.id, again.created_at)
    assert await store.memories.count("agent", None) == 1
    assert await store.memories.history("agent", first.id, None, 10) == []
    query = SearchQuery("agent", "user", "fox")
    (hit,) = await store.searches.search(query, embed_words("fox"), 1, None)
    assert (hit.id, hit.created_at) == (first.id, again.created_at)


async def test_refreshed_memory_is_found_as_of_before(store: PostgresStore) -> None:
    """However often it is refreshed, it has one version until it is changed."""
    old = NOW - timedelta(days=9)
    (first,) = await add(store, new_memory("a fox", created_at=old))
    times = []
    for _ in range(3):
        await asyncio.sleep(0.002)
        times.append(datetime.now(UTC))
        await add(store, new_memory("a fox"))
    patch = MemoryPatch("an owl")
    await asyncio.sleep(0.002)
    times.append(datetime.now(UTC))
    await store.memories.update("agent", first.id, patch, embed_words("an owl"), 1, None)
    await add(store, new_memory("an owl"))
    for time in [old, *times]:
        query = SearchQuery("agent", "user", "fox", as_of=time)
        (hit,) = await store.searches.search(query, embed_words("a fox"), 1, None)
        assert (hit.id, hit.content) == (first.id, "a fox")
        assert hit.created_at <= time
    async with store.pool.acquire() as connection:
        rows = await connection.fetch("select ended_by from memory_versions order by version")
    assert [row["ended_by"] for row in rows] == ["touch", "change", "touch"]
    versions = await store.memories.history("agent", first.id, None, 10)
    assert versions is not None
    assert [version.content for version in versions] == ["a fox"]


@pytest.mark.parametrize(
    "other",
    [
        new_memory("A fox"),
        new_memory("a fox "),
        new_memory("a fox", agent="another"),
        new_memory("a fox", user="another"),
        new_memory("a fox", importance=2.0),
        new_memory("a fox", memory_type=MemoryType.SEMANTIC),
        new_memory("a fox", metadata={"k": 1}),
    ],
)
async def test_memory_that_differs_in_any_field_is_stored_separately(
    store: PostgresStore, other: NewMemory
) -> None:
    (first,) = await add(store, new_memory("a fox"))
    (second,) = await add(store, other)
    assert second.id == other.id != first.id


@pytest.mark.parametrize("content", ["a fox", "?!", "the the the", "狐狸在睡觉"])
async def test_identical_memories_of_one_batch_are_stored_once(
    store: PostgresStore, content: str
) -> None:
    memories = [new_memory(content), new_memory("an owl"), new_memory(content)]
    stored = await add(store, *memories)
    assert [memory.content for memory in stored] == [content, "an owl", content]
    assert stored[0] == stored[2]
    assert await store.memories.count("agent", None) == 2
    again = await add(store, new_memory(content))
    assert again[0].id == stored[0].id


async def test_identical_memories_of_calls_in_one_batch_are_stored_once(
    store: PostgresStore,
) -> None:
    generation = await store.generations.adopt_generation(IDENTITY)
    calls = [
        insert_call(generation, new_memory("a fox")),
        insert_call(generation, new_memory("an owl"), new_memory("a fox")),
    ]
    (first,), (owl, fox) = await store.inserts.insert_each(calls)  # type: ignore[misc]
    assert (fox, owl.content) == (first, "an owl")
    assert await store.memories.count("agent", None) == 2


async def test_concurrent_writes_store_identical_memories_once(store: PostgresStore) -> None:
    texts = ["a fox", "an owl", "a bear"]

    async def write(n: int) -> list[Memory]:
        rotated = texts[n % 3 :] + texts[: n % 3]
        return await add(store, *(new_memory(text) for text in rotated))

    await asyncio.gather(*(write(n) for n in range(30)))
    assert await store.memories.count("agent", None) == 3


async def test_later_expiry_of_identical_memories_wins(store: PostgresStore) -> None:
    day, week = NOW + timedelta(days=1), NOW + timedelta(days=7)

    async def last_expiry(*expiries: datetime | None) -> datetime | None:
        content = f"a fox, {uuid7()}"
        for expires_at in expiries:
            (stored,) = await add(store, new_memory(content, expires_at=expires_at))
        return stored.expires_at

    assert await last_expiry(day, week) == week
    assert await last_expiry(week, day) == week
    assert await last_expiry(day, None) is None
    assert await last_expiry(None, day) is None
    past = NOW - timedelta(seconds=1)
    assert await last_expiry(past, day) == day
