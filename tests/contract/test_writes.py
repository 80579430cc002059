"""Writes to every store that are rate-limited, repeated, refused, or of another model."""

from dataclasses import replace

import numpy as np
import pytest

from deployments.domain.entity_tags import Precondition, entity_tag
from deployments.domain.errors import (
    GenerationRetired,
    KeyReused,
    ModelMismatch,
    PreconditionFailed,
    RateLimited,
)
from deployments.domain.memories import (
    Expiry,
    Memory,
    MemoryPatch,
    NewMemory,
    WriteKey,
)
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from tests.support.contract import Scope
from tests.support.fakes.embedder import IDENTITY, embed_words


async def test_repeated_insert_changes_nothing(scope: Scope) -> None:
    memory = NewMemory(uuid7(), "agent", "user", "once")
    embeddings = np.stack([embed_words("once")])
    first = await scope.store.inserts.insert([memory], embeddings, scope.generation, None)
    again = await scope.store.inserts.insert([memory], embeddings, scope.generation, None)
    assert again == first
    assert await scope.store.memories.count("agent", "user") == 1


async def test_rate_limits_count_each_operation_and_agent_separately(scope: Scope) -> None:
    store, limit = scope.store, RateLimit("search", 3)

    async def search(agent: str, limit: RateLimit) -> None:
        await store.searches.search(
            SearchQuery(agent, "u", "q"), embed_words("q"), scope.generation, limit
        )

    for _ in range(3):
        await search("limited", limit)
    with pytest.raises(RateLimited) as error:
        await search("limited", limit)
    assert 55 < error.value.retry_after_s <= 60
    assert (error.value.operation, error.value.agent_id) == ("search", "limited")
    await search("another", limit)
    memory = NewMemory(uuid7(), "limited", "u", "x")
    await store.inserts.insert(
        [memory], np.stack([embed_words("x")]), scope.generation, RateLimit("write", 3)
    )


async def test_rate_limited_write_changes_nothing(scope: Scope) -> None:
    limit = RateLimit("write", 1)
    memories = [NewMemory(uuid7(), "limited", "u", f"m {n}") for n in range(2)]
    vectors = np.stack([embed_words("m")])
    await scope.store.inserts.insert(memories[:1], vectors, scope.generation, limit)
    with pytest.raises(RateLimited):
        await scope.store.inserts.insert(memories[1:], vectors, scope.generation, limit)
    with pytest.raises(RateLimited):
        await scope.store.memories.update(
            "limited", memories[0].id, MemoryPatch(importance=2.0), None, scope.generation, limit
        )
    (only,) = (await scope.store.memories.list_page("limited", None, page_size=10)).memories
    assert (only.id, only.importance) == (memories[0].id, 1.0)


async def test_another_model_is_refused_only_if_there_are_memories(store: BatchedStore) -> None:
    other = replace(IDENTITY, name="fake/other")
    await store.generations.adopt_generation(IDENTITY)
    generation = await store.generations.adopt_generation(other)
    assert await store.generations.adopt_generation(other) == generation
    await Scope(store, generation, "a", "u").add("x")
    with pytest.raises(ModelMismatch):
        await store.generations.adopt_generation(IDENTITY)
    assert await store.generations.adopt_generation(other) == generation


async def test_write_under_a_key_is_made_once(scope: Scope) -> None:
    def new_memories(*contents: str, agent: str = scope.agent) -> list[NewMemory]:
        return [NewMemory(uuid7(), agent, "user", content) for content in contents]

    async def write(memories: list[NewMemory], key: WriteKey) -> list[Memory]:
        embeddings = np.stack([embed_words(memory.content) for memory in memories])
        return await scope.store.inserts.insert_once(
            memories, embeddings, scope.generation, None, key
        )

    key = WriteKey("k", b"1")
    first = await write(new_memories("a fox", "an owl"), key)
    assert await write(new_memories("a fox", "an owl"), key) == first
    assert await scope.store.memories.count(scope.agent, None) == 2
    with pytest.raises(KeyReused):
        await write(new_memories("a bear", "an owl"), WriteKey("k", b"2"))
    assert await scope.store.memories.count(scope.agent, None) == 2
    await write(new_memories("a fox", agent="another"), WriteKey("k", b"3"))
    assert await scope.store.memories.count("another", None) == 1
    patch = MemoryPatch(importance=2.0)
    await scope.store.memories.update(scope.agent, first[0].id, patch, None, None, None)
    await scope.store.memories.delete(scope.agent, first[1].id)
    assert await write(new_memories("a fox", "an owl"), key) == first
    assert await scope.store.memories.count(scope.agent, None) == 1


async def test_failed_write_leaves_its_key_unused(scope: Scope) -> None:
    limit, key = RateLimit("write", 1), WriteKey("k", b"1")
    memories = [NewMemory(uuid7(), "limited once", "user", "a fox")]
    embeddings = np.stack([embed_words("a fox")])
    await scope.store.inserts.insert(memories, embeddings, scope.generation, limit)
    retried = [NewMemory(uuid7(), "limited once", "user", "a fox")]
    with pytest.raises(RateLimited):
        await scope.store.inserts.insert_once(retried, embeddings, scope.generation, limit, key)
    stored = await scope.store.inserts.insert_once(retried, embeddings, scope.generation, None, key)
    assert stored[0].id == retried[0].id


async def test_embeddings_of_another_generation_are_refused(scope: Scope) -> None:
    (stored,) = await scope.add("a fox")
    store, vector = scope.store, embed_words("a dog")
    other = scope.generation + 1
    new = [NewMemory(uuid7(), scope.agent, scope.user, "a dog")]
    embeddings = vector[None]
    limit = RateLimit("write", 10)
    key = WriteKey("retired", b"1")
    for call in (
        store.inserts.insert(new, embeddings, other, None),
        store.inserts.insert(new, embeddings, other, limit),
        store.inserts.insert_once(new, embeddings, other, None, key),
        store.memories.update(scope.agent, stored.id, MemoryPatch("a dog"), vector, other, None),
        store.searches.search(SearchQuery(scope.agent, scope.user, "dog"), vector, other, None),
    ):
        with pytest.raises(GenerationRetired):
            await call
    (only,) = (await store.memories.list_page(scope.agent, scope.user, page_size=10)).memories
    assert only == stored
    await store.inserts.insert_once(new, embeddings, scope.generation, None, key)


async def test_condition_is_met_only_by_the_state_that_it_names(scope: Scope) -> None:
    memories, agent = scope.store.memories, scope.agent
    (old,) = await scope.add("a fox")
    seen = Precondition(frozenset({entity_tag(old), "another"}))

    async def update(patch: MemoryPatch, condition: Precondition) -> Memory | None:
        vector = None if patch.content is None else embed_words(patch.content)
        generation = None if patch.content is None else scope.generation
        return await memories.update(agent, old.id, patch, vector, generation, None, condition)

    new = await update(MemoryPatch(importance=0.5), seen)
    assert new is not None
    patches = (
        MemoryPatch(importance=2.0),
        MemoryPatch(content="a dog"),
        MemoryPatch(expiry=Expiry(None)),
    )
    for patch in patches:
        with pytest.raises(PreconditionFailed, match=str(old.id)):
            await update(patch, seen)
    with pytest.raises(PreconditionFailed):
        await memories.delete(agent, old.id, seen)
    assert await memories.get(agent, old.id) == new
    for patch in patches:
        new = await update(patch, Precondition(frozenset({entity_tag(new)})))
        assert new is not None
    assert not await memories.delete("another", old.id, seen)
    assert await memories.delete(agent, old.id, Precondition(frozenset({entity_tag(new)})))
    assert await update(MemoryPatch(importance=2.0), seen) is None
    assert not await memories.delete(agent, old.id, seen)
