"""Summaries in every store: condensing, listing, restoring, deleting, forgetting, expiring."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from deployments.domain.errors import GenerationRetired, NotASummary, Superseded
from deployments.domain.memories import (
    Expiry,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryType,
    NewMemory,
)
from deployments.domain.ports.store import BatchedStore
from deployments.domain.search import SearchQuery
from deployments.domain.summaries import Condensation
from deployments.runtime.ids import uuid7
from tests.support.fakes.embedder import IDENTITY, embed_words

NOW = datetime.now(UTC)


@pytest.fixture
async def store(store: BatchedStore) -> BatchedStore:
    await store.generations.adopt_generation(IDENTITY)
    return store


async def add(store: BatchedStore, count: int, agent: str = "agent", **fields: Any) -> list[Memory]:
    """The new memories, oldest first."""
    contents = [f"memory {n} of {agent}" for n in range(count)]
    memories = [
        NewMemory(
            uuid7(), agent, "user", content, created_at=NOW - timedelta(days=count - n), **fields
        )
        for n, content in enumerate(contents)
    ]
    embeddings = np.stack([embed_words(content) for content in contents])
    return await store.inserts.insert(memories, embeddings, 1, None)


async def condense(store: BatchedStore, sources: Sequence[Memory]) -> Memory | None:
    summary = NewMemory(
        uuid7(), "agent", "user", "a summary", memory_type=MemoryType.SEMANTIC, created_at=NOW
    )
    changes = [(source.id, source.updated_at) for source in sources]
    return await store.condensing.condense(
        Condensation(summary, embed_words("a summary"), 1, changes)
    )


async def list_contents(store: BatchedStore, include_superseded: bool = False) -> list[str]:
    page = await store.memories.list_page(
        "agent", "user", page_size=200, filters=ListFilters(include_superseded=include_superseded)
    )
    return [memory.content for memory in page.memories]


async def search_contents(
    store: BatchedStore, text: str, include_superseded: bool = False
) -> list[str]:
    query = SearchQuery("agent", "user", text, 50, include_superseded=include_superseded)
    return [hit.content for hit in await store.searches.search(query, embed_words(text), 1, None)]


async def test_condensed_sources_are_hidden_unless_included(store: BatchedStore) -> None:
    memories = await add(store, 5)
    summary = await condense(store, memories[:3])
    assert summary is not None
    contents = ["a summary", "memory 4 of agent", "memory 3 of agent"]
    assert await list_contents(store) == contents
    assert sorted(await search_contents(store, "memory 1 of agent")) == sorted(contents)
    for user in ("user", None):
        assert await store.memories.count("agent", user) == 3
        assert await store.memories.count("agent", user, include_superseded=True) == 6
    page = await store.memories.list_page("agent", None, page_size=200)
    assert [memory.content for memory in page.memories] == contents

    assert await list_contents(store, include_superseded=True) == [
        "a summary", *(f"memory {n} of agent" for n in (4, 3, 2, 1, 0)),
    ]  # fmt: skip
    page = await store.memories.list_page(
        "agent", None, page_size=200, filters=ListFilters(include_superseded=True)
    )
    assert len(page.memories) == 6
    everything = await search_contents(store, "memory 1 of agent", include_superseded=True)
    assert everything[0] == "memory 1 of agent"
    assert len(everything) == 6
    source = await store.memories.get("agent", memories[0].id)
    assert source == replace(memories[0], superseded_by=summary.id)
    sources = await store.summaries.sources("agent", summary.id)
    assert sources == [replace(memory, superseded_by=summary.id) for memory in memories[:3]]


async def test_pages_include_superseded_memories_if_requested(store: BatchedStore) -> None:
    memories = await add(store, 10)
    await condense(store, memories[::2])
    contents: list[str] = []
    key = None
    while True:
        page = await store.memories.list_page(
            "agent", "user", page_size=3, after=key, filters=ListFilters(include_superseded=True)
        )
        contents += [memory.content for memory in page.memories]
        key = page.next_key
        if key is None:
            break
    assert contents == ["a summary", *(f"memory {n} of agent" for n in range(9, -1, -1))]


async def test_restore_deletes_the_summary_and_shows_its_sources(store: BatchedStore) -> None:
    memories = await add(store, 5)
    before = await list_contents(store)
    summary = await condense(store, memories[:3])
    assert summary is not None
    assert await store.summaries.restore("agent", summary.id) == memories[:3]
    assert await list_contents(store) == before
    assert await store.memories.get("agent", summary.id) is None
    assert await search_contents(store, "memory 1 of agent") == await search_contents(
        store, "memory 1 of agent", include_superseded=True
    )
    # The user asked for these sources back: they are not condensed again.
    assert await condense(store, memories[:3]) is None
    assert await store.condensing.oldest_condensable("agent", "user", 2, 10) == []


async def test_restore_of_a_memory_that_is_no_summary_is_refused(store: BatchedStore) -> None:
    (memory,) = await add(store, 1)
    with pytest.raises(NotASummary):
        await store.summaries.restore("agent", memory.id)
    assert await store.summaries.restore("agent", uuid4()) is None
    assert await store.summaries.sources("agent", memory.id) == []
    assert await store.summaries.sources("agent", uuid4()) is None


async def test_another_agent_cannot_read_restore_or_condense(store: BatchedStore) -> None:
    memories = await add(store, 3)
    summary = await condense(store, memories)
    assert summary is not None
    assert await store.summaries.sources("other", summary.id) is None
    assert await store.summaries.restore("other", summary.id) is None
    others = await add(store, 3, "other")
    assert await condense(store, others) is None  # the summary is "agent"'s
    assert await store.memories.count("other", None) == 3
    assert await store.memories.count("agent", None) == 1


async def test_condense_does_nothing_if_a_source_changed(store: BatchedStore) -> None:
    memories = await add(store, 4)
    await store.memories.update(
        "agent", memories[0].id, MemoryPatch(importance=2), None, None, None
    )
    assert await condense(store, memories[:2]) is None
    await store.memories.delete("agent", memories[1].id)
    assert await condense(store, memories[1:3]) is None
    assert await condense(store, memories[2:]) is not None
    assert await condense(store, memories[2:]) is None  # already condensed
    assert await store.memories.count("agent", None) == 2


async def test_only_episodic_memories_without_expiry_are_condensed(store: BatchedStore) -> None:
    semantic = await add(store, 3, memory_type=MemoryType.SEMANTIC)
    expiring = await add(store, 3, expires_at=NOW + timedelta(hours=1))
    assert await store.condensing.scopes_to_condense(("", ""), 1, 10) == []
    assert await condense(store, semantic) is None
    assert await condense(store, expiring) is None
    memories = await add(store, 4)
    (scope,) = await store.condensing.scopes_to_condense(("", ""), 4, 10)
    assert (scope.agent_id, scope.user_id, scope.is_due) == ("agent", "user", False)
    (scope,) = await store.condensing.scopes_to_condense(("", ""), 3, 10)
    assert scope.is_due
    assert await store.condensing.oldest_condensable("agent", "user", 4, 10) == []
    sources = await store.condensing.oldest_condensable("agent", "user", 3, 2)
    assert [source.id for source in sources] == [memory.id for memory in memories[:2]]
    assert [source.updated_at for source in sources] == [m.updated_at for m in memories[:2]]
    assert np.allclose(sources[0].embedding, embed_words("memory 0 of agent"), atol=1e-6)


async def test_scopes_to_condense_are_paged(store: BatchedStore) -> None:
    for agent in ("c", "a", "b"):
        await add(store, 2, agent)
    first = await store.condensing.scopes_to_condense(("", ""), 1, 2)
    assert [scope.agent_id for scope in first] == ["a", "b"]
    rest = await store.condensing.scopes_to_condense(("b", "user"), 1, 2)
    assert [scope.agent_id for scope in rest] == ["c"]


async def test_superseded_memory_cannot_be_changed(store: BatchedStore) -> None:
    memories = await add(store, 3)
    summary = await condense(store, memories)
    assert summary is not None
    with pytest.raises(Superseded, match=str(summary.id)):
        await store.memories.update(
            "agent", memories[0].id, MemoryPatch(importance=2), None, None, None
        )
    embedding = embed_words("other")
    patch = MemoryPatch(content="other")
    with pytest.raises(Superseded):
        await store.memories.update("agent", memories[0].id, patch, embedding, 1, None)
    assert await store.summaries.sources("agent", summary.id) == [
        replace(memory, superseded_by=summary.id) for memory in memories
    ]


async def test_deleting_a_source_deletes_its_summary(store: BatchedStore) -> None:
    """The other sources are no longer superseded and can be condensed again."""
    memories = await add(store, 4)
    summary = await condense(store, memories[:3])
    assert summary is not None
    assert await store.memories.delete("agent", memories[1].id)
    assert await store.memories.get("agent", summary.id) is None
    assert await list_contents(store) == [f"memory {n} of agent" for n in (3, 2, 0)]
    assert len(await store.condensing.oldest_condensable("agent", "user", 2, 10)) == 3


async def test_deleting_a_summary_deletes_its_sources(store: BatchedStore) -> None:
    memories = await add(store, 4)
    summary = await condense(store, memories[:3])
    assert summary is not None
    assert await store.memories.delete("agent", summary.id)
    assert await list_contents(store, include_superseded=True) == ["memory 3 of agent"]
    for memory in memories[:3]:
        assert await store.memories.get("agent", memory.id) is None


async def test_forget_deletes_superseded_memories_too(store: BatchedStore) -> None:
    memories = await add(store, 4)
    await condense(store, memories[:3])
    await add(store, 2, "other")
    assert await store.memories.forget("agent", "user") == 2
    assert await store.memories.count("agent", None, include_superseded=True) == 0
    assert await store.memories.count("other", None) == 2


async def test_sources_expire_with_their_summary(store: BatchedStore) -> None:
    memories = await add(store, 3)
    summary = await condense(store, memories)
    assert summary is not None
    soon = Expiry(datetime.now(UTC) + timedelta(milliseconds=300))
    await store.memories.update("agent", summary.id, MemoryPatch(expiry=soon), None, None, None)
    await asyncio.sleep(0.35)
    assert await store.memories.count("agent", "user", include_superseded=True) == 0
    assert await store.memories.count("agent", None, include_superseded=True) == 0
    assert await store.memories.get("agent", memories[0].id) is None
    assert await list_contents(store, include_superseded=True) == []


async def test_refused_change_of_expiry_leaves_sources_alone(store: BatchedStore) -> None:
    memories = await add(store, 3)
    summary = await condense(store, memories)
    assert summary is not None
    patch = MemoryPatch("new content", expiry=Expiry(NOW + timedelta(days=1)))
    vector = embed_words("new content")
    with pytest.raises(GenerationRetired):
        await store.memories.update("agent", summary.id, patch, vector, 99, None)
    source = await store.memories.get("agent", memories[0].id)
    assert source is not None
    assert source.expires_at is None


async def test_superseded_memories_do_not_affect_scores(store: BatchedStore) -> None:
    """A scope that never had the sources gives the same scores."""
    memories = await add(store, 6)
    summary = await condense(store, memories[:4])
    assert summary is not None
    query = SearchQuery("agent", "user", "memory 4 summary", 50)
    scores = [h.score for h in await store.searches.search(query, embed_words(query.text), 1, None)]
    query_of_copies = SearchQuery("agent", "copies", query.text, 50)
    visible = [summary, *memories[4:]]
    copies = [
        NewMemory(uuid7(), "agent", "copies", memory.content, created_at=memory.created_at)
        for memory in visible
    ]
    embeddings = np.stack([embed_words(memory.content) for memory in visible])
    await store.inserts.insert(copies, embeddings, 1, None)
    hits = await store.searches.search(query_of_copies, embed_words(query.text), 1, None)
    assert [hit.score for hit in hits] == pytest.approx(scores, abs=1.1e-4)
