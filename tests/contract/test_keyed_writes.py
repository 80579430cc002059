"""Changes and deletions under a write key: made once by every store, and answered alike."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from deployments.domain.entity_tags import Precondition, entity_tag
from deployments.domain.errors import (
    DeletedSince,
    GenerationRetired,
    KeyReused,
    PreconditionFailed,
    RateLimited,
)
from deployments.domain.memories import Expiry, Memory, MemoryPatch, WriteKey
from deployments.domain.rate_limits import RateLimit
from tests.support.contract import Scope
from tests.support.fakes.embedder import embed_words

KEY = WriteKey("k", b"1")
OTHER_WRITE = WriteKey("k", b"2")


async def update(
    scope: Scope,
    memory_id: UUID,
    patch: MemoryPatch,
    key: WriteKey = KEY,
    rate_limit: RateLimit | None = None,
    condition: Precondition | None = None,
    agent: str = "agent",
) -> Memory | None:
    vector = None if patch.content is None else embed_words(patch.content)
    generation = None if patch.content is None else scope.generation
    return await scope.store.keyed_writes.update_once(
        agent, memory_id, patch, vector, generation, rate_limit, key, condition
    )


async def test_repeated_change_answers_as_the_first_whatever_was_done_since(scope: Scope) -> None:
    writes, memories = scope.store.keyed_writes, scope.store.memories
    (memory,) = await scope.add("a fox", metadata={"n": 1e100, "b": [1.0, 2], "a": "ü"})
    assert await writes.first_update("agent", KEY) is None
    patch = MemoryPatch("an owl", importance=1e-9)
    first = await update(scope, memory.id, patch)
    assert first is not None
    assert (first.content, first.importance) == ("an owl", 1e-9)
    assert await update(scope, memory.id, patch) == first
    assert len(await memories.history("agent", memory.id, None, 10) or []) == 1
    await memories.update("agent", memory.id, MemoryPatch(metadata={}), None, None, None)
    assert await update(scope, memory.id, patch) == first
    assert await writes.first_update("agent", KEY) == first
    now = await memories.get("agent", memory.id)
    assert now is not None
    assert now.metadata == {}


async def test_expiry_does_not_matter_to_a_repeated_change(scope: Scope) -> None:
    (memory,) = await scope.add("a fox")
    patch = MemoryPatch(expiry=Expiry(datetime.now(UTC) + timedelta(seconds=0.3)))
    first = await update(scope, memory.id, patch)
    assert first is not None
    assert first.expires_at is not None
    await asyncio.sleep(0.4)
    assert await scope.store.memories.get("agent", memory.id) is None
    assert await update(scope, memory.id, patch) == first
    await scope.store.memories.delete("another", memory.id)
    assert await update(scope, memory.id, patch) == first
    assert await scope.store.memories.delete("agent", memory.id)
    with pytest.raises(DeletedSince, match=str(memory.id)):
        await update(scope, memory.id, patch)


async def test_deletion_takes_the_answers_of_changes_with_it(scope: Scope) -> None:
    store = scope.store
    deleted, forgotten, expiring = await scope.add("a fox", "an owl", "a bear")
    keys = {memory.id: WriteKey(memory.content, b"1") for memory in (deleted, forgotten, expiring)}
    for memory_id, key in keys.items():
        await update(scope, memory_id, MemoryPatch(importance=2.0), key)
    soon = MemoryPatch(expiry=Expiry(datetime.now(UTC) + timedelta(seconds=0.2)))
    await store.memories.update("agent", expiring.id, soon, None, None, None)
    await store.memories.delete("agent", deleted.id)
    await store.memories.forget("agent", "another")
    await asyncio.sleep(0.3)
    assert await store.keyed_writes.first_update("agent", keys[expiring.id]) is not None
    assert await store.keyed_writes.first_update("agent", keys[forgotten.id]) is not None
    await store.memories.forget("agent", "user")
    for key in keys.values():
        with pytest.raises(DeletedSince):
            await store.keyed_writes.first_update("agent", key)


async def test_repeated_deletion_answers_as_the_first(scope: Scope) -> None:
    writes = scope.store.keyed_writes
    (memory,) = await scope.add("a fox")
    assert not await writes.delete_once("another", memory.id, KEY)
    assert await writes.delete_once("agent", memory.id, KEY)
    assert await writes.delete_once("agent", memory.id, KEY)
    assert not await writes.delete_once("agent", memory.id, WriteKey("another", b"1"))
    with pytest.raises(KeyReused):
        await writes.delete_once("agent", memory.id, OTHER_WRITE)


async def test_repeated_forgetting_deletes_nothing_that_came_since(scope: Scope) -> None:
    writes = scope.store.keyed_writes
    assert await writes.forget_once("agent", "user", WriteKey("of nothing", b"1")) == 0
    await scope.add("a fox", "an owl")
    assert await writes.forget_once("agent", "user", WriteKey("of nothing", b"1")) == 0
    assert await writes.forget_once("agent", "user", KEY) == 2
    await scope.add("a bear")
    assert await writes.forget_once("agent", "user", KEY) == 2
    assert await scope.store.memories.count("agent", "user") == 1
    with pytest.raises(KeyReused):
        await writes.forget_once("agent", "user", OTHER_WRITE)


async def test_key_is_of_one_agent_and_one_write(scope: Scope) -> None:
    (memory,) = await scope.add("a fox")
    (other,) = await Scope(scope.store, scope.generation, "another", "user").add("a fox")
    patch = MemoryPatch(importance=2.0)
    first = await update(scope, memory.id, patch)
    with pytest.raises(KeyReused):
        await update(scope, memory.id, patch, OTHER_WRITE)
    with pytest.raises(KeyReused):
        await scope.store.keyed_writes.first_update("agent", OTHER_WRITE)
    with pytest.raises(KeyReused):
        await scope.store.keyed_writes.delete_once("agent", memory.id, OTHER_WRITE)
    assert await scope.store.memories.get("agent", memory.id) == first
    changed = await update(scope, other.id, patch, OTHER_WRITE, agent="another")
    assert changed is not None
    assert changed.agent_id == "another"


async def test_change_that_is_not_made_leaves_its_key_unused(scope: Scope) -> None:
    (memory,) = await scope.add("a fox")
    patch, limit = MemoryPatch(importance=2.0), RateLimit("write", 1)
    assert await update(scope, memory.id, patch, agent="another") is None
    assert await scope.store.keyed_writes.first_update("another", KEY) is None
    stale = Precondition(frozenset({"stale"}))
    with pytest.raises(PreconditionFailed):
        await update(scope, memory.id, patch, condition=stale)
    with pytest.raises(PreconditionFailed):
        await scope.store.keyed_writes.delete_once("agent", memory.id, KEY, stale)
    with pytest.raises(GenerationRetired):
        await scope.store.keyed_writes.update_once(
            "agent", memory.id, MemoryPatch("an owl"), embed_words("an owl"), 99, None, KEY
        )
    assert await scope.store.keyed_writes.first_update("agent", KEY) is None
    current = Precondition(frozenset({entity_tag(memory)}))
    first = await update(scope, memory.id, patch, rate_limit=limit, condition=current)
    # The repetition no longer meets the condition, and is not counted.
    again = await update(scope, memory.id, patch, rate_limit=limit, condition=current)
    assert again == first
    with pytest.raises(RateLimited):
        await update(scope, memory.id, patch, WriteKey("another", b"1"), rate_limit=limit)
