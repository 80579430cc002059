"""Re-embedding with a real database, while it is written to, searched and read."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any
from uuid import UUID

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
    all_memories,
    check_searches,
    fill_with_sentences,
    locked_connection,
    new_table_state,
    reembed,
    table_state,
    vector_of,
)


@pytest.mark.parametrize("identity", [SAME_WIDTH, WIDER])
async def test_run_reembeds_all_memories_and_back(
    dsn: str, empty_dsn: str, postgres_store: PostgresStore, identity: ModelIdentity
) -> None:
    contents = await fill_with_sentences(postgres_store)
    await put_in_index(postgres_store)
    fresh = Pool(empty_dsn, StoreSettings(), _migrate)
    expected = await new_table_state(build_store(fresh, StoreSettings()), empty_dsn, identity)
    await fresh.close()

    await reembed(dsn, Model(identity))
    assert await table_state(dsn) == expected
    await check_searches(postgres_store, identity, contents[:5])
    large = build_store(postgres_store.pool, StoreSettings(exact_search_rows=10))
    await check_searches(large, identity, contents[:5])
    with pytest.raises(ModelMismatch) as mismatch:
        await postgres_store.generations.adopt_generation(IDENTITY)
    assert mismatch.value.active == identity
    await postgres_store.memories.forget("agent", "user")
    with pytest.raises(ModelMismatch):  # a replica must not undo the operator's choice
        await postgres_store.generations.adopt_generation(IDENTITY)

    await reembed(dsn, Model(IDENTITY))  # and back
    (memory,) = await fill_with_sentences(postgres_store, 1)
    await check_searches(postgres_store, IDENTITY, [memory])


async def test_run_includes_memories_written_while_it_runs(
    dsn: str, postgres_store: PostgresStore
) -> None:
    """Before each answer of the model, some of the requested memories are changed, some are
    deleted, and new ones are added, so that its embeddings are of outdated texts."""
    contents = await fill_with_sentences(postgres_store, 500)
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    by_content = {memory.content: memory.id async for memory in all_memories(postgres_store)}
    numbers = itertools.count()

    class Busy(Model):
        async def before_answer(self, texts: Sequence[str]) -> None:
            number = next(numbers)
            if len(texts) <= reembedding.LAST_ROWS:  # the table is locked: a write would wait
                return
            present = [text for text in texts if text in by_content]
            for text in present[:2]:
                changed = f"{text} changed"
                vector = embed_words(changed)
                patch = MemoryPatch(changed)
                memory_id = by_content.pop(text)
                await postgres_store.memories.update(
                    "agent", memory_id, patch, vector, generation, None
                )
                by_content[changed] = memory_id
            for text in present[2:4]:
                await postgres_store.memories.delete("agent", by_content.pop(text))
            added = NewMemory(uuid7(), "agent", "user", f"added {number}")
            await postgres_store.inserts.insert(
                [added], embed_words(added.content)[None], generation, None
            )
            by_content[added.content] = added.id
            content = f"{contents[-1]} early {number}"
            # An id that comes before those this pass has reached.
            early = NewMemory(UUID(int=number + 1), "agent", "user", content)
            await postgres_store.inserts.insert(
                [early], embed_words(content)[None], generation, None
            )
            by_content[content] = early.id

    await reembed(dsn, Busy(WIDER))
    assert {memory.content async for memory in all_memories(postgres_store)} == set(by_content)
    assert (await table_state(dsn))["missing"] == 0
    changed = [text for text in by_content if "changed" in text or "added" in text]
    assert len(changed) > 10
    await check_searches(postgres_store, WIDER, changed[:10])


async def test_every_call_during_a_run_is_of_one_generation(
    dsn: str, postgres_store: PostgresStore
) -> None:
    """Each call is answered by the generation of its embedding, or refused as retired and repeated.
    Everything that was stored exists in the end."""
    contents = await fill_with_sentences(postgres_store)
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    model = (IDENTITY, generation)
    stop = asyncio.Event()
    stored: list[str] = []
    retired = 0

    async def with_retries(call: Any) -> Any:
        nonlocal model, retired
        for _ in range(3):
            identity, number = model
            try:
                return await call(identity, number)
            except GenerationRetired:
                retired += 1
                model = (WIDER, await postgres_store.generations.adopt_generation(WIDER))
        raise AssertionError("the generation was retired three times")

    async def search_repeatedly(number: int) -> None:
        for turn in itertools.count(number):
            await asyncio.sleep(0.005)
            if stop.is_set():
                return
            text = contents[turn % len(contents)]
            query = SearchQuery("agent", "user", text, 1, Ranking(1.0, mode="semantic"))
            (hit,) = await with_retries(
                lambda identity, of, query=query: postgres_store.searches.search(
                    query, vector_of(identity, query.text), of, None
                )
            )
            assert (hit.content, hit.score) == (text, pytest.approx(1.0, abs=1e-3))

    async def write_repeatedly(number: int) -> None:
        for turn in itertools.count():
            await asyncio.sleep(0.01)
            if stop.is_set():
                return
            new = NewMemory(uuid7(), "agent", "user", f"writer{number} wrote{turn}")
            await with_retries(
                lambda identity, of, new=new: postgres_store.inserts.insert(
                    [new], vector_of(identity, new.content)[None], of, None
                )
            )
            patch = MemoryPatch(f"{new.content} and changed it")
            await with_retries(
                lambda identity, of, new=new, patch=patch: postgres_store.memories.update(
                    "agent", new.id, patch, vector_of(identity, patch.content or ""), of, None
                )
            )
            stored.append(f"{new.content} and changed it")

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(search_repeatedly(number))
            group.create_task(write_repeatedly(number))
        async with asyncio.timeout(30):
            await reembed(dsn, Model(WIDER))
            await asyncio.sleep(0.3)
        stop.set()
    assert retired > 0
    await check_searches(postgres_store, WIDER, [*stored[:5], *stored[-5:]])
    present = {memory.content async for memory in all_memories(postgres_store)}
    assert set(stored) <= present


async def test_long_reader_delays_only_the_switch(
    dsn: str, pool: Pool, postgres_store: PostgresStore
) -> None:
    """Other calls do not wait for a switch that waits for a reader, such as a backup."""
    contents = await fill_with_sentences(postgres_store, 20)
    async with locked_connection(dsn) as connection:
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
