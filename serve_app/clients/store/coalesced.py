"""The store's edge: searches and inserts that arrive while calls run share the next call, in which
they become one statement and one commit."""

from collections.abc import Callable, Sequence
from dataclasses import fields

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import InsertCall, Memory, NewMemory, WriteKey
from deployments.domain.ports.store import BatchedInserts, BatchedSearches, BatchedStore, Store
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery
from serve_app.clients.coalescer import Bounds, Coalescer

# Characters of the memories that one call writes. A larger batch gets its own call, so that others
# do not wait for it.
_CALL_CHARS = 32_000


def coalesced_store(
    store: BatchedStore,
    bounds: Bounds,
    observe_batch: Callable[[int], None] | None = None,
    observe_refusal: Callable[[], None] | None = None,
) -> Store:
    """`store` with coalesced inserts and searches, which raise Unavailable at once if too many
    callers wait. Its other calls, which are rare or deletions, are made directly."""
    parts = {field.name: getattr(store, field.name) for field in fields(Store)}
    parts["inserts"] = CoalescedInserts(store.inserts, bounds, observe_batch, observe_refusal)
    parts["searches"] = CoalescedSearches(store.searches, bounds, observe_batch, observe_refusal)
    return Store(**parts)


class CoalescedInserts:
    """The Inserts port over another."""

    def __init__(
        self,
        inner: BatchedInserts,
        bounds: Bounds,
        observe_batch: Callable[[int], None] | None = None,
        observe_refusal: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._inserts = Coalescer[InsertCall, list[Memory]](
            inner.insert_each,
            "store",
            bounds,
            size=_chars,
            max_batch_size=_CALL_CHARS,
            observe_batch=observe_batch,
            observe_refusal=observe_refusal,
        )

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        call = InsertCall(memories, embeddings, generation, rate_limit)
        if _chars(call) > _CALL_CHARS or len({memory.agent_id for memory in memories}) > 1:
            return await self._inner.insert(memories, embeddings, generation, rate_limit)
        return await self._inserts.submit(call)

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        return await self._inner.insert_once(memories, embeddings, generation, rate_limit, key)

    async def first_insert(
        self, memories: Sequence[NewMemory], key: WriteKey
    ) -> list[Memory] | None:
        return await self._inner.first_insert(memories, key)


class CoalescedSearches:
    """The Searches port over another."""

    def __init__(
        self,
        inner: BatchedSearches,
        bounds: Bounds,
        observe_batch: Callable[[int], None] | None = None,
        observe_refusal: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._searches = Coalescer[SearchCall, list[Memory] | Deferred](
            inner.search_each,
            "store",
            bounds,
            observe_batch=observe_batch,
            observe_refusal=observe_refusal,
        )

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        hits = await self._searches.submit(SearchCall(query, embedding, generation, rate_limit))
        if isinstance(hits, Deferred):
            return await self._inner.search(query, embedding, generation, None)
        return hits


def _chars(call: InsertCall) -> int:
    return sum(len(memory.content) for memory in call.memories)
