"""The store's edge: searches and writes that come while calls are under way travel in the next one,
and there become one statement and one commit."""

from collections.abc import Callable, Sequence

from deployments.domain.ports import BatchedMemoryStore
from deployments.domain.types import (
    Embeddings,
    InsertCall,
    Memory,
    NewMemory,
    RateLimit,
    SearchCall,
    SearchQuery,
)
from serve_app.coalescing import Bounds, Coalescer

# Of the memories that are written in one call. A batch of more is written alone: others would wait
# for it.
_CALL_CHARS = 32_000


class CoalescedStore:
    """The MemoryStore port in front of another. Deletions and what is rare go straight through."""

    def __init__(
        self,
        inner: BatchedMemoryStore,
        bounds: Bounds,
        observe: Callable[[int], None] | None = None,
        shed: Callable[[], None] | None = None,
    ) -> None:
        self._inner = inner
        self._searches = Coalescer[SearchCall, list[Memory] | None](
            inner.search_each,
            "store",
            bounds,
            observe=observe,
            shed=shed,
        )
        self._inserts = Coalescer[InsertCall, list[Memory]](
            inner.insert_each,
            "store",
            bounds,
            size=_chars,
            max_batch_size=_CALL_CHARS,
            observe=observe,
            shed=shed,
        )
        self.ping = inner.ping
        self.adopt_generation = inner.adopt_generation
        self.insert_once = inner.insert_once
        self.get = inner.get
        self.list_page = inner.list_page
        self.update = inner.update
        self.history = inner.history
        self.delete = inner.delete
        self.forget = inner.forget
        self.count = inner.count
        self.sources = inner.sources
        self.restore = inner.restore
        self.export = inner.export
        self.known = inner.known
        self.insert_missing = inner.insert_missing
        self.list_agents = inner.list_agents
        self.list_users = inner.list_users
        self.timeline = inner.timeline

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        """As the port says. Raises Unavailable at once where too many callers wait already."""
        call = InsertCall(memories, embeddings, generation, limit)
        if _chars(call) > _CALL_CHARS or len({memory.agent_id for memory in memories}) > 1:
            return await self._inner.insert(memories, embeddings, generation, limit)
        return await self._inserts.submit(call)

    async def search(
        self, query: SearchQuery, embedding: Embeddings, generation: int, limit: RateLimit | None
    ) -> list[Memory]:
        """As the port says. Raises Unavailable at once where too many callers wait already."""
        call = SearchCall(query, embedding, generation, limit)
        hits = await self._searches.submit(call)
        if hits is None:  # it would have kept the others waiting; its limit has been counted
            return await self._inner.search(query, embedding, generation, None)
        return hits


def _chars(call: InsertCall) -> int:
    return sum(len(memory.content) for memory in call.memories)
