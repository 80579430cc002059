"""Moving memories to another model, on a real database: interrupted, written to, searched."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import GenerationRetired, ModelMismatch
from deployments.domain.memories import MemoryPatch, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.generations import reembedding
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.reembed.run import Run
from serve_app.settings import Settings
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.memories import put_in_index
from tests.support.postgres.reembedding import (
    SAME_WIDTH,
    WIDER,
    Model,
    _all,
    check_searches,
    filled,
    locked,
    move,
    new_table,
    table,
    vector_of,
)


@pytest.mark.parametrize("identity", [SAME_WIDTH, WIDER])
async def test_all_memories_move(
    dsn: str, empty_dsn: str, postgres_store: PostgresStore, identity: ModelIdentity
) -> None:
    contents = await filled(postgres_store)
    await put_in_index(postgres_store)
    fresh = Pool(empty_dsn, StoreSettings(), _migrate)
    expected = await new_table(build_store(fresh, StoreSettings()), empty_dsn, identity)
    await fresh.close()

    await move(dsn, Model(identity))
    assert await table(dsn) == expected
    await check_searches(postgres_store, identity, contents[:5])
    large = build_store(postgres_store.pool, StoreSettings(exact_search_rows=10))
    await check_searches(large, identity, contents[:5])
    with pytest.raises(ModelMismatch) as mismatch:
        await postgres_store.generations.adopt_generation(IDENTITY)
    assert mismatch.value.active == identity
    await postgres_store.memories.forget("agent", "user")
    with pytest.raises(ModelMismatch):  # chosen on purpose: a replica must not undo it
        await postgres_store.generations.adopt_generation(IDENTITY)

    await move(dsn, Model(IDENTITY))  # and back
    (memory,) = await filled(postgres_store, 1)
    await check_searches(postgres_store, IDENTITY, [memory])


async def test_what_is_written_during_a_run_moves_too(
    dsn: str, postgres_store: PostgresStore
) -> None:
    """Before each answer of the model, those that it was asked for and others are changed, deleted
    and added: what it says is then of texts that are not there any more."""
    contents = await filled(postgres_store, 500)
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    by_content = {memory.content: memory.id async for memory in _all(postgres_store)}
    numbers = itertools.count()

    class Busy(Model):
        async def meanwhile(self, texts: Sequence[str]) -> None:
            number = next(numbers)
            if len(texts) <= reembedding.LAST_ROWS:  # writers wait, as we would
                return
            there = [text for text in texts if text in by_content]
            for text in there[:2]:
                changed = f"{text} changed"
                vector = embed_words(changed)
                patch = MemoryPatch(changed)
                memory_id = by_content.pop(text)
                await postgres_store.memories.update(
                    "agent", memory_id, patch, vector, generation, None
                )
                by_content[changed] = memory_id
            for text in there[2:4]:
                await postgres_store.memories.delete("agent", by_content.pop(text))
            added = NewMemory(uuid7(), "agent", "user", f"added {number}")
            await postgres_store.inserts.insert(
                [added], embed_words(added.content)[None], generation, None
            )
            by_content[added.content] = added.id
            first = f"{contents[-1]} early {number}"  # its id is behind what a pass has come to
            early = NewMemory(uuid7(), "agent", "user", first)
            early = replace(early, id=type(early.id)(int=number + 1))
            await postgres_store.inserts.insert([early], embed_words(first)[None], generation, None)
            by_content[first] = early.id

    await move(dsn, Busy(WIDER))
    assert {memory.content async for memory in _all(postgres_store)} == set(by_content)
    assert (await table(dsn))["missing"] == 0
    changed = [text for text in by_content if "changed" in text or "added" in text]
    assert len(changed) > 10
    await check_searches(postgres_store, WIDER, changed[:10])


async def test_no_call_meets_the_switch_half_done(dsn: str, postgres_store: PostgresStore) -> None:
    """Calls go on all the time; each is answered by the model it came with, or refused as retired
    and then made again, and what was stored is there in the end."""
    contents = await filled(postgres_store)
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    model = (IDENTITY, generation)
    stop = asyncio.Event()
    stored: list[str] = []
    retired = 0

    async def again(call: Any) -> Any:
        nonlocal model, retired
        for _ in range(3):
            identity, number = model
            try:
                return await call(identity, number)
            except GenerationRetired:
                retired += 1
                model = (WIDER, await postgres_store.generations.adopt_generation(WIDER))
        raise AssertionError("retired again and again")

    async def searches(number: int) -> None:
        for turn in itertools.count(number):
            await asyncio.sleep(0.005)
            if stop.is_set():
                return
            text = contents[turn % len(contents)]
            query = SearchQuery("agent", "user", text, 1, Ranking(1.0, mode="semantic"))
            (hit,) = await again(
                lambda identity, of, query=query: postgres_store.searches.search(
                    query, vector_of(identity, query.text), of, None
                )
            )
            assert (hit.content, hit.score) == (text, pytest.approx(1.0, abs=1e-3))

    async def writes(number: int) -> None:
        for turn in itertools.count():
            await asyncio.sleep(0.01)
            if stop.is_set():
                return
            new = NewMemory(uuid7(), "agent", "user", f"writer{number} wrote{turn}")
            await again(
                lambda identity, of, new=new: postgres_store.inserts.insert(
                    [new], vector_of(identity, new.content)[None], of, None
                )
            )
            changed = MemoryPatch(f"{new.content} and changed it")
            await again(
                lambda identity, of, new=new, changed=changed: postgres_store.memories.update(
                    "agent", new.id, changed, vector_of(identity, changed.content or ""), of, None
                )
            )
            stored.append(f"{new.content} and changed it")

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(searches(number))
            group.create_task(writes(number))
        async with asyncio.timeout(30):
            await move(dsn, Model(WIDER))
            await asyncio.sleep(0.3)
        stop.set()
    assert retired > 0
    await check_searches(postgres_store, WIDER, [*stored[:5], *stored[-5:]])
    there = {memory.content async for memory in _all(postgres_store)}
    assert set(stored) <= there


async def test_a_long_reader_delays_the_switch_alone(
    dsn: str, pool: Pool, postgres_store: PostgresStore
) -> None:
    """As a backup is one: nobody waits for the switch while it waits."""
    contents = await filled(postgres_store, 20)
    async with locked(dsn) as connection:
        await reembedding.begin(connection, WIDER)
        run = Run(connection, dsn, Settings(), Model(WIDER), WIDER, 1)
        await run.build()
        async with pool.acquire() as reader, reader.transaction():
            await reader.fetchval("select count(*) from memories")
            assert not await reembedding.try_switch(connection, run._embed)
            await check_searches(postgres_store, IDENTITY, contents[:1])
            switching = asyncio.create_task(run.switch())
            await asyncio.sleep(0.2)
        await switching
        await reembedding.finish(connection)
    await check_searches(postgres_store, WIDER, contents[:3])


async def _migrate(connection: asyncpg.Connection) -> None:
    await migrate(connection, read_migrations())
