import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import MemexError, RateLimited, Unavailable
from deployments.domain.memories import InsertCall, Memory, NewMemory
from deployments.domain.ports.store import Store
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery
from deployments.runtime.ids import uuid7
from serve_app.clients.coalescer import Bounds
from serve_app.clients.store.coalesced import coalesced_store
from tests.support.event_loop import turns
from tests.support.fakes.embedder import embed_words
from tests.support.fakes.inserts import InMemoryInserts
from tests.support.fakes.rows import Rows
from tests.support.fakes.searches import InMemorySearches
from tests.support.fakes.store import in_memory_store

LIMIT = RateLimit("search", 3)


class HeldInserts(InMemoryInserts):
    """Answers batches once `go` is set."""

    def __init__(self, rows: Rows, go: asyncio.Event, batches: list[int]) -> None:
        super().__init__(rows)
        self._go, self._batches = go, batches
        self.single_inserts = 0
        self.broken: UUID | None = None

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        self._batches.append(len(calls))
        await self._go.wait()
        if any(memory.id == self.broken for call in calls for memory in call.memories):
            raise ValueError("this one cannot be stored")
        return await super().insert_each(calls)

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        self.single_inserts += 1
        return await super().insert(memories, embeddings, generation, rate_limit)


class HeldSearches(InMemorySearches):
    """Answers batches once `go` is set, and defers searches of "large"."""

    def __init__(self, rows: Rows, go: asyncio.Event, batches: list[int]) -> None:
        super().__init__(rows)
        self._go, self._batches = go, batches
        self.single_searches: list[str] = []

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | Deferred]:
        self._batches.append(len(calls))
        await self._go.wait()
        results = await super().search_each(calls)
        return [
            Deferred() if call.query.user_id == "large" and isinstance(result, list) else result
            for call, result in zip(calls, results, strict=True)
        ]

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        self.single_searches.append(query.user_id)
        assert rate_limit is None
        return await super().search(query, embedding, generation, rate_limit)


class HeldStore:
    """A store whose batches wait until `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.batches: list[int] = []
        store = in_memory_store()
        self.inserts = HeldInserts(store.rows, self.go, self.batches)
        self.searches = HeldSearches(store.rows, self.go, self.batches)
        self.store = replace(store, inserts=self.inserts, searches=self.searches)

    def coalesced(self, bounds: Bounds, **options: Callable[[], None]) -> Store:
        return coalesced_store(self.store, bounds, observe_refusal=options.get("observe_refusal"))


def memory(text: str, agent: str = "agent", user: str = "user") -> NewMemory:
    return NewMemory(uuid7(), agent, user, text)


async def write(store: Store, *memories: NewMemory) -> list[Memory]:
    vectors = np.stack([embed_words(m.content) for m in memories])
    return await store.inserts.insert(memories, vectors, 1, None)


async def search(
    store: Store, user: str = "user", text: str = "x", limit: RateLimit | None = None
) -> list[Memory]:
    return await store.searches.search(
        SearchQuery("agent", user, text), embed_words(text), 1, limit
    )


async def test_each_caller_gets_its_own_answer() -> None:
    inner = HeldStore()
    inner.go.set()
    store = inner.coalesced(Bounds(1, 32, 100))
    new = [[memory(f"a {n}"), memory(f"b {n}")][: 1 + n % 2] for n in range(5)]
    stored = await asyncio.gather(*(write(store, *memories) for memories in new))
    assert [[m.content for m in memories] for memories in stored] == [
        [m.content for m in memories] for memories in new
    ]
    texts = [f"a {n}" for n in range(5)]
    found = await asyncio.gather(*(search(store, text=text) for text in texts))
    assert [hits[0].content for hits in found] == texts
    assert sum(inner.batches) == 10
    assert len(inner.batches) <= 4


async def test_callers_share_the_next_call_while_one_is_under_way() -> None:
    inner = HeldStore()
    store = inner.coalesced(Bounds(1, 32, 100))
    first = asyncio.create_task(search(store))
    await turns()
    rest = [asyncio.create_task(search(store)) for _ in range(5)]
    await turns()
    inner.go.set()
    await asyncio.gather(first, *rest)
    assert inner.batches == [1, 5]


async def test_rate_limit_refuses_only_its_caller() -> None:
    inner = HeldStore()
    inner.go.set()
    store = inner.coalesced(Bounds(1, 32, 100))
    results = await asyncio.gather(
        *(search(store, limit=LIMIT) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, RateLimited) for result in results) == 2


async def test_large_scope_search_is_made_alone_and_counted_once() -> None:
    inner = HeldStore()
    inner.go.set()
    store = inner.coalesced(Bounds(1, 32, 100))
    await write(store, memory("hay", user="large"))
    found = await asyncio.gather(search(store), search(store, "large", limit=LIMIT))
    assert [len(hits) for hits in found] == [0, 1]
    assert inner.searches.single_searches == ["large"]


async def test_failing_write_fails_alone() -> None:
    inner = HeldStore()
    inner.go.set()
    store = inner.coalesced(Bounds(1, 32, 100))
    new = [memory(f"text {n}") for n in range(4)]
    inner.inserts.broken = new[2].id
    results = await asyncio.gather(*(write(store, m) for m in new), return_exceptions=True)
    assert [isinstance(result, ValueError) for result in results] == [False, False, True, False]
    assert await store.memories.count("agent", None) == 3


@pytest.mark.parametrize(
    "memories",
    [[memory("x" * 8_000) for _ in range(5)], [memory("x", "one"), memory("x", "another")]],
    ids=["large", "of several agents"],
)
async def test_large_and_multi_agent_batches_are_written_alone(memories: list[NewMemory]) -> None:
    inner = HeldStore()  # its batches would wait
    store = inner.coalesced(Bounds(1, 32, 0))
    assert len(await write(store, *memories)) == len(memories)
    assert inner.inserts.single_inserts == 1


async def test_callers_beyond_the_bound_are_shed_at_once() -> None:
    inner = HeldStore()
    refused: list[None] = []
    store = inner.coalesced(Bounds(1, 32, 2), observe_refusal=lambda: refused.append(None))
    waiting = [asyncio.create_task(search(store)) for _ in range(1)]
    await turns()
    waiting += [asyncio.create_task(search(store)) for _ in range(2)]
    await turns()
    with pytest.raises(Unavailable, match="store"):
        await search(store)
    assert len(refused) == 1
    inner.go.set()
    await asyncio.gather(*waiting)
