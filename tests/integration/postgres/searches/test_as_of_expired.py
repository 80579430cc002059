"""Searches as of a time before memories expired: what purges keep of them, and for how long."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deployments.domain.memories import ImportOutcome, NewMemory
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import embed_words
from tests.support.postgres.past import add, change, contents, expired, search


async def shift_versions(pool: Pool, by: timedelta) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "update memory_versions set replaced_at = replaced_at - $1::interval", by
        )


async def kept(pool: Pool) -> int:
    async with pool.acquire() as connection:
        return int(await connection.fetchval("select count(*) from memory_versions"))


async def test_purged_memories_are_found_until_the_retention_is_over(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    memories, then = await expired(postgres_store, "a red fox", "a grey fox")
    before = [replace(hit, score=None) for hit in await search(postgres_store, "a grey fox", then)]
    await postgres_store.upkeep.purge_expired()
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from memories") == 0
    after = await search(postgres_store, "a grey fox", then)
    assert [replace(hit, score=None) for hit in after] == before
    assert [hit.content for hit in before] == ["a grey fox", "a red fox"]
    await postgres_store.upkeep.purge_expired()
    assert await kept(pool) == 2
    assert await postgres_store.memories.delete("agent", memories[0].id)
    assert await contents(postgres_store, then) == ["a grey fox"]
    await shift_versions(pool, timedelta(hours=24))
    await postgres_store.upkeep.purge_expired()
    assert await kept(pool) == 0


async def test_versions_of_an_expired_memory_stay_and_go_with_it(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    (memory,) = await add(
        postgres_store, "a red fox", expires_at=datetime.now(UTC) + timedelta(milliseconds=200)
    )
    then = datetime.now(UTC)
    await change(postgres_store, memory.id, "a grey fox")
    (permanent,) = await add(postgres_store, "an owl")
    await change(postgres_store, permanent.id, "a bear")
    await asyncio.sleep(0.22)
    await postgres_store.upkeep.purge_expired()
    assert await contents(postgres_store, then) == ["a red fox"]
    assert await kept(pool) == 3
    await shift_versions(pool, timedelta(hours=25))
    await postgres_store.upkeep.purge_expired()
    assert await kept(pool) == 1  # what the owl said


async def test_without_retention_purged_memories_are_gone(pool: Pool) -> None:
    store = build_store(pool, StoreSettings(expired_retention_hours=0))
    (memory, _), then = await expired(store, "a red fox", "a grey fox")
    assert len(await contents(store, then)) == 2
    await store.upkeep.purge_expired()
    assert await contents(store, then) == []
    assert await kept(pool) == 0
    assert not await store.memories.delete("agent", memory.id)


async def test_deleting_an_id_that_was_imported_again_deletes_what_was_kept_of_it(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    (memory,), then = await expired(postgres_store, "a red fox")
    await postgres_store.upkeep.purge_expired()
    again = NewMemory(memory.id, "agent", "user", "a grey fox", created_at=memory.created_at)
    vector = embed_words(again.content)[None]
    outcomes = await postgres_store.transfers.insert_missing([again], vector, 1, None)
    assert outcomes == [ImportOutcome.STORED]
    assert await contents(postgres_store, then) == ["a red fox"]
    assert await contents(postgres_store, datetime.now(UTC)) == ["a grey fox"]
    assert await postgres_store.memories.delete("agent", memory.id)
    assert await contents(postgres_store, then) == []
    assert await kept(pool) == 0
