"""Changes under a key or a condition, in Postgres: at once, and what is kept of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import numpy as np
import pytest

from deployments.domain.entity_tags import Precondition, entity_tag
from deployments.domain.errors import KeyInUse, PreconditionFailed
from deployments.domain.memories import Expiry, Memory, MemoryPatch, NewMemory, WriteKey
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import IDENTITY, embed_words

KEY = WriteKey("k", b"1")


async def add(store: PostgresStore, *contents: str) -> list[Memory]:
    generation = await store.generations.adopt_generation(IDENTITY)
    memories = [NewMemory(uuid7(), "agent", f"user {n}", text) for n, text in enumerate(contents)]
    vectors = np.stack([embed_words(text) for text in contents])
    return await store.inserts.insert(memories, vectors, generation, None)


async def change(store: PostgresStore, memory_id: UUID, key: WriteKey, patch: MemoryPatch) -> None:
    writes = store.keyed_writes
    assert await writes.update_once("agent", memory_id, patch, None, None, None, key)


@pytest.mark.parametrize("patch", [MemoryPatch(importance=2.0), MemoryPatch(expiry=Expiry(None))])
async def test_one_of_many_changes_on_the_same_condition_is_made(
    dsn: str, patch: MemoryPatch
) -> None:
    pools = [Pool(dsn, StoreSettings()) for _ in range(2)]
    stores = [build_store(pool, StoreSettings()) for pool in pools]
    (memory,) = await add(stores[0], "a fox")
    seen = Precondition(frozenset({entity_tag(memory)}))
    results = await asyncio.gather(
        *(
            stores[n % 2].memories.update("agent", memory.id, patch, None, None, None, seen)
            for n in range(40)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Memory) for result in results) == 1
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 39
    with pytest.raises(PreconditionFailed):
        await stores[0].memories.delete("agent", memory.id, seen)
    for pool in pools:
        await pool.close()


async def test_concurrent_changes_under_one_key_are_made_once(
    postgres_store: PostgresStore,
) -> None:
    (memory,) = await add(postgres_store, "a fox")
    writes, patch = postgres_store.keyed_writes, MemoryPatch(importance=2.0)
    results = await asyncio.gather(
        *(writes.update_once("agent", memory.id, patch, None, None, None, KEY) for _ in range(40)),
        return_exceptions=True,
    )
    answers = [result for result in results if isinstance(result, Memory)]
    assert answers
    assert all(answer == answers[0] for answer in answers)
    assert all(isinstance(result, Memory | KeyInUse) for result in results)
    assert await postgres_store.memories.get("agent", memory.id) == answers[0]
    assert len(await postgres_store.memories.history("agent", memory.id, None, 10) or []) == 1


async def test_concurrent_deletions_under_one_key_all_succeed(
    postgres_store: PostgresStore,
) -> None:
    (memory,) = await add(postgres_store, "a fox")
    delete = postgres_store.keyed_writes.delete_once
    results = await asyncio.gather(
        *(delete("agent", memory.id, KEY) for _ in range(40)), return_exceptions=True
    )
    assert True in results
    assert all(result is True or isinstance(result, KeyInUse) for result in results)


async def test_change_and_its_key_are_one_transaction(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    (memory,) = await add(postgres_store, "a fox")
    writes, patch = postgres_store.keyed_writes, MemoryPatch(importance=2.0)
    async with pool.acquire() as connection:
        await connection.execute("alter table idempotency_keys add constraint no check (false)")
        for call in (
            writes.update_once("agent", memory.id, patch, None, None, None, KEY),
            writes.delete_once("agent", memory.id, KEY),
            writes.forget_once("agent", "user 0", KEY),
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                await call
    assert await postgres_store.memories.get("agent", memory.id) == memory


async def test_kept_answers_keep_no_text_of_deleted_memories_and_none_for_more_than_a_day(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    store = postgres_store
    memories = await add(store, "xylophone one", "xylophone two", "xylophone three", "four")
    for memory in memories:
        await change(store, memory.id, WriteKey(str(memory.id), b"1"), MemoryPatch(importance=2.0))
    for n, memory in enumerate(memories[1:3]):
        soon = Expiry(datetime.now(UTC) + timedelta(seconds=0.1))
        await change(store, memory.id, WriteKey(f"expire {n}", b"1"), MemoryPatch(expiry=soon))
    await asyncio.sleep(0.2)

    async def texts() -> set[str]:
        async with pool.acquire() as connection:
            rows = await connection.fetch(
                "select distinct answer ->> 'content' as text from idempotency_keys "
                "where answer is not null"
            )
        return {row["text"] for row in rows}

    await store.upkeep.purge_expired()
    assert await texts() == {memory.content for memory in memories}
    await store.memories.delete("agent", memories[0].id)
    assert await texts() == {"xylophone two", "xylophone three", "four"}
    await store.memories.forget("agent", "user 1")
    assert await texts() == {"xylophone three", "four"}
    await store.memories.delete("agent", memories[2].id)
    assert await texts() == {"four"}
    async with pool.acquire() as connection:
        await connection.execute(
            "update idempotency_keys set stored_at = stored_at - interval '24 hours'"
        )
    await store.upkeep.purge_idempotency_keys()
    assert await texts() == set()


async def test_repeated_insert_answers_metadata_as_they_are_stored(
    postgres_store: PostgresStore,
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    metadata = {"zz": 1e300, "a": 1e2, "b": [1.0, 1e-7, {"ü": None}]}

    async def write() -> list[Memory]:
        memory = NewMemory(uuid7(), "agent", "user", "a fox", metadata=metadata)
        vectors = np.stack([embed_words("a fox")])
        return await postgres_store.inserts.insert_once([memory], vectors, generation, None, KEY)

    first, again = await write(), await write()
    assert repr(again) == repr(first)  # equal numbers may differ in type
    assert entity_tag(again[0]) == entity_tag(first[0])
