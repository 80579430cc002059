"""The Transfers port of every store: exports, and imports that keep the memories' ids."""

from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deployments.domain.errors import RateLimited
from deployments.domain.memories import (
    ExportPage,
    ImportOutcome,
    Memory,
    MemoryPatch,
    MemoryType,
    NewMemory,
)
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import RateLimit
from deployments.domain.summaries import Condensation
from deployments.runtime.ids import uuid7
from deployments.store.store import PostgresStore
from tests.support.contract import Scope
from tests.support.fakes.embedder import embed_words
from tests.support.fakes.store import InMemoryStore

NOW = datetime.now(UTC)


async def export(store: BatchedStore, agent: str, user: str | None = None) -> list[ExportPage]:
    return [page async for page in store.transfers.export(agent, user)]


def memories_of(pages: list[ExportPage]) -> list[Memory]:
    return [memory for page in pages for memory in page.memories]


async def insert_missing(
    scope: Scope, *memories: NewMemory, limit: RateLimit | None = None
) -> list[ImportOutcome]:
    embeddings = np.stack([embed_words(memory.content) for memory in memories])
    return await scope.store.transfers.insert_missing(memories, embeddings, scope.generation, limit)


async def test_export_has_all_memories_newest_first(scope: Scope) -> None:
    stored = []
    for n in range(7):
        created_at = NOW - timedelta(hours=n // 2)  # some are equal
        stored += await scope.add(f"m {n}", created_at=created_at, metadata={"n": n})
    stored += await Scope(scope.store, scope.generation, "agent", "second").add(
        "of another user", memory_type=MemoryType.SEMANTIC, expires_at=NOW + timedelta(days=1)
    )
    await Scope(scope.store, scope.generation, "another", "user").add("of another agent")
    await scope.add("expired", expires_at=NOW - timedelta(seconds=1))
    stored.sort(key=lambda memory: (memory.created_at, memory.id), reverse=True)
    pages = await export(scope.store, "agent")
    assert memories_of(pages) == stored
    assert {page.total for page in pages} == {8}
    assert len(pages) > 1
    pages = await export(scope.store, "agent", "user")
    assert memories_of(pages) == [memory for memory in stored if memory.user_id == "user"]
    assert pages[0].total == 7


@pytest.mark.parametrize("count", [0, 3, 6])
async def test_export_of_any_size_has_a_first_page_with_the_total(scope: Scope, count: int) -> None:
    if count:
        await scope.add(*(f"m {n}" for n in range(count)))
    pages = await export(scope.store, "agent")
    assert pages[0].total == len(memories_of(pages)) == count


async def test_export_excludes_writes_made_after_it_began(scope: Scope) -> None:
    store = scope.store
    stored = await scope.add(*(f"m {n}" for n in range(9)))
    stored.sort(key=lambda memory: memory.id, reverse=True)  # all have the same created_at
    async with aclosing(store.transfers.export("agent", None)) as pages:
        memories = (await anext(pages)).memories
        await scope.add("newer")
        await scope.add("older", created_at=NOW - timedelta(days=1))
        await store.memories.update(
            "agent", stored[7].id, MemoryPatch(importance=2.0), None, None, None
        )
        await store.memories.delete("agent", stored[8].id)
        async for page in pages:
            memories += page.memories
            assert page.total == 9
    assert memories == stored
    memories = memories_of(await export(store, "agent"))
    assert len(memories) == 10
    assert stored[7] not in memories


async def test_known_finds_only_ids_of_the_agent(scope: Scope) -> None:
    mine, other = await scope.add("mine", "mine, too")
    ids = [mine.id, uuid7(), other.id]
    assert await scope.store.transfers.existing_ids("agent", ids) == {mine.id, other.id}
    assert await scope.store.transfers.existing_ids("another", ids) == set()
    assert await scope.store.transfers.existing_ids("agent", []) == set()


async def test_import_of_an_export_restores_identical_memories(scope: Scope) -> None:
    metadata = {"tags": ["a", {"b": None}], "n": 1.5, "large": 1e300, "ü": True}
    (memory,) = await scope.add(
        "Grüße, 東京 🙂", importance=0.25, metadata=metadata, created_at=NOW - timedelta(days=3),
        memory_type=MemoryType.PROCEDURAL, expires_at=NOW + timedelta(days=3),
    )  # fmt: skip
    await scope.store.memories.update(
        "agent", memory.id, MemoryPatch(importance=2.0), None, None, None
    )
    (before,) = memories_of(await export(scope.store, "agent"))
    assert before.updated_at > memory.updated_at
    await scope.store.memories.forget("agent", "user")
    copy = NewMemory(
        before.id, before.agent_id, before.user_id, before.content, before.importance,
        before.memory_type, before.metadata, before.created_at, before.expires_at,
        before.updated_at,
    )  # fmt: skip
    assert await insert_missing(scope, copy) == [ImportOutcome.STORED]
    assert memories_of(await export(scope.store, "agent")) == [before]


async def test_import_inserts_only_memories_whose_id_is_unused(scope: Scope) -> None:
    (mine,) = await scope.add("mine")
    (foreign,) = await Scope(scope.store, scope.generation, "another", "user").add("foreign")
    new = NewMemory(uuid7(), "agent", "user", "new")
    changed = replace(new, id=mine.id, content="other content")
    taken = replace(new, id=foreign.id, content="somebody else's id")
    outcomes = await insert_missing(scope, changed, new, taken)
    assert outcomes == [ImportOutcome.EXISTS, ImportOutcome.STORED, ImportOutcome.TAKEN]
    assert {memory.content for memory in memories_of(await export(scope.store, "agent"))} == {
        "mine", "new",
    }  # fmt: skip
    assert memories_of(await export(scope.store, "another")) == [foreign]
    outcomes = await insert_missing(scope, changed, new, taken)
    assert outcomes == [ImportOutcome.EXISTS, ImportOutcome.EXISTS, ImportOutcome.TAKEN]


async def test_import_counts_as_a_write_for_the_rate_limit(scope: Scope) -> None:
    limit = RateLimit("write", 1)
    first, second = (NewMemory(uuid7(), "agent", "user", f"m {n}") for n in range(2))
    assert await insert_missing(scope, first, limit=limit) == [ImportOutcome.STORED]
    with pytest.raises(RateLimited):
        await insert_missing(scope, second, limit=limit)
    assert await scope.store.transfers.existing_ids("agent", [first.id, second.id]) == {first.id}


async def test_export_and_import_keep_sources_superseded(scope: Scope) -> None:
    store = scope.store
    assert isinstance(store, PostgresStore | InMemoryStore)
    memories = await scope.add("one", "two", created_at=NOW - timedelta(days=1))
    summary = NewMemory(
        uuid7(), "agent", "user", "both", memory_type=MemoryType.SEMANTIC, created_at=NOW
    )
    changes = [(memory.id, memory.updated_at) for memory in memories]
    await store.condensing.condense(
        Condensation(summary, embed_words("both"), scope.generation, changes)
    )
    before = memories_of(await export(store, "agent"))
    assert before[0].id == summary.id
    assert [memory.superseded_by for memory in before] == [None, summary.id, summary.id]
    assert memories_of(await export(store, "agent", "user")) == before
    await store.memories.forget("agent", "user")
    copies = [
        NewMemory(
            m.id, m.agent_id, m.user_id, m.content, m.importance, m.memory_type, m.metadata,
            m.created_at, m.expires_at, m.updated_at, m.superseded_by,
        )
        for m in before
    ]  # fmt: skip
    assert await insert_missing(scope, *copies) == [ImportOutcome.STORED] * 3
    assert memories_of(await export(store, "agent")) == before
    assert await store.memories.count("agent", "user") == 1
    restored = await store.summaries.restore("agent", summary.id)
    assert restored is not None
    assert len(restored) == 2


async def test_import_ignores_a_summary_that_is_in_another_scope_or_is_itself(
    scope: Scope,
) -> None:
    other = Scope(scope.store, scope.generation, "agent", "another user")
    (theirs,) = await other.add("theirs")
    source = NewMemory(uuid7(), "agent", "user", "mine", superseded_by=theirs.id)
    itself = NewMemory(id_ := uuid7(), "agent", "user", "itself", superseded_by=id_)
    assert await insert_missing(scope, source, itself) == [ImportOutcome.STORED] * 2
    assert await scope.store.summaries.sources("agent", theirs.id) == []
    assert await scope.store.memories.count("agent", "user") == 2
