"""MemoryService: what the API can do, over the ports. REST and MCP both use it.

Reject agents that this replica already knows to be over their rate limit. Otherwise embed the text;
one call to the store then counts the request and stores or searches. Counting there saves a hop for
every request. What an agent over its limit costs in embeddings stays small, since each ingress
replica remembers a refusal until the window lets the agent in again.
"""

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar
from uuid import UUID

from deployments.domain.embeddings import TextKind
from deployments.domain.errors import AgentsNotListed, MemoryNotFound, Unavailable
from deployments.domain.memories import (
    ExportPage,
    Imported,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    NewMemory,
    Page,
    PageKey,
    WriteKey,
)
from deployments.domain.overview import TallyPage, Timeline
from deployments.domain.ports.embedding import Embedder
from deployments.domain.ports.store import Store
from deployments.domain.ports.summaries import Summariser
from deployments.domain.rate_limits import Operation, RateLimit
from deployments.domain.search import SearchQuery
from deployments.domain.summaries import PassReport
from deployments.runtime.active_model import ActiveModel, Embedded
from serve_app.services.imports import OutcomesById
from serve_app.services.rate_refusals import RateRefusals
from serve_app.services.reranking import Reranking, SearchResult

_HEALTH_TIMEOUT_S = 3.0
_PASS_BUDGET_S = 10.0

_Found = TypeVar("_Found")
_T = TypeVar("_T")
_StoreCall = Callable[[Embedded, RateLimit | None], Awaitable[_T]]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the database and the embedder answer."""

    db: bool
    embedder: bool


class MemoryService:
    """All operations on memories. Input is validated before it comes here."""

    def __init__(
        self,
        embedder: Embedder,
        store: Store,
        *,
        writes_per_minute: int = 0,
        searches_per_minute: int = 0,
        reranking: Reranking | None = None,
        summariser: Summariser | None = None,
        observe_hits: Callable[[int], None] = lambda _hits: None,
        lists_agents: bool = True,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Rates are for each agent; 0 is no limit. `observe_hits` is called with the number of hits
        of each search."""
        self._store = store
        self._model = ActiveModel(embedder, store.generations)
        self._rate_limits = {
            "write": RateLimit("write", writes_per_minute),
            "search": RateLimit("search", searches_per_minute),
        }
        self._reranking = reranking
        self._summariser = summariser
        self._observe_hits = observe_hits
        self._lists_agents = lists_agents
        self._refusals = RateRefusals(monotonic_s)

    async def adopt_model(self) -> None:
        """As ActiveModel.adopt."""
        await self._model.adopt()

    async def add(self, memories: Sequence[NewMemory], key: WriteKey | None = None) -> list[Memory]:
        """Store all or none; they are returned in order. For the rate limit it is one write of each
        agent among them, however many. With a key, of one agent's memories, it is done once however
        often it is called; raises KeyInUse, KeyReused."""
        limit = self._rate_limit("write", *{memory.agent_id for memory in memories})

        async def store(embedded: Embedded, unused: RateLimit | None) -> list[Memory]:
            rows, generation = embedded.embeddings, embedded.generation
            if key is not None:  # a write that is refused under a key has not been counted
                return await self._store.inserts.insert_once(memories, rows, generation, limit, key)
            return await self._store.inserts.insert(memories, rows, generation, unused)

        return await self._with_embeddings([m.content for m in memories], "passage", limit, store)

    async def search(self, query: SearchQuery) -> SearchResult:
        """The scope's best `top_k`, best first."""
        limit = self._rate_limit("search", query.agent_id)
        widened = query if self._reranking is None else self._reranking.widen(query)

        async def find(embedded: Embedded, unused: RateLimit | None) -> list[Memory]:
            return await self._store.searches.search(
                widened, embedded.embeddings[0], embedded.generation, unused
            )

        hits = await self._with_embeddings([query.text], "query", limit, find)
        result = SearchResult(hits)
        if self._reranking is not None:
            result = await self._reranking.apply(query, hits)
        self._observe_hits(len(result.hits))
        return result

    async def get(self, agent_id: str, memory_id: UUID) -> Memory:
        """Raises MemoryNotFound."""
        return _found(await self._store.memories.get(agent_id, memory_id), memory_id)

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        *,
        page_size: int,
        after: PageKey | None = None,
        filters: ListFilters = ListFilters(),
    ) -> Page:
        """At most `page_size` memories, newest first."""
        return await self._store.memories.list_page(
            agent_id, user_id, page_size=page_size, after=after, filters=filters
        )

    async def update(self, agent_id: str, memory_id: UUID, patch: MemoryPatch) -> Memory:
        """Change some fields; new content is embedded. Raises MemoryNotFound, Superseded."""
        limit = self._rate_limit("write", agent_id)
        change = functools.partial(self._store.memories.update, agent_id, memory_id, patch)
        if patch.content is None:
            with self._refusals.remembered():
                return _found(await change(None, None, limit), memory_id)

        async def store(embedded: Embedded, unused: RateLimit | None) -> Memory | None:
            return await change(embedded.embeddings[0], embedded.generation, unused)

        memory = await self._with_embeddings([patch.content], "passage", limit, store)
        return _found(memory, memory_id)

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion]:
        """The memory as it was before each change, newest first. Raises MemoryNotFound."""
        versions = await self._store.memories.history(agent_id, memory_id, before, limit)
        return _found(versions, memory_id)

    async def delete(self, agent_id: str, memory_id: UUID) -> None:
        """Also deletes what was made of the memory, and what it was made of. Raises
        MemoryNotFound."""
        if not await self._store.memories.delete(agent_id, memory_id):
            raise MemoryNotFound(str(memory_id))

    async def forget(self, agent_id: str, user_id: str) -> int:
        """Delete everything of one user of an agent; how many memories that were."""
        return await self._store.memories.forget(agent_id, user_id)

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        return await self._store.memories.count(agent_id, user_id, include_superseded)

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory]:
        """The memories a summary was made of, oldest first. Raises MemoryNotFound."""
        return _found(await self._store.summaries.sources(agent_id, memory_id), memory_id)

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory]:
        """Undo a summary; its sources, which are shown again. Raises MemoryNotFound,
        NotASummary."""
        return _found(await self._store.summaries.restore(agent_id, memory_id), memory_id)

    async def summarise(self, agent_id: str | None, user_id: str | None) -> PassReport:
        """One pass now, over all scopes, over the agent's, or over one, for some seconds at
        most."""
        if self._summariser is None:
            raise Unavailable("summariser")
        return await self._summariser.run(agent_id, user_id, _PASS_BUDGET_S)

    def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """All memories of the agent, or of one of its users, as they are at the start, newest
        first. Close it if it is not read to its end."""
        return self._store.transfers.export(agent_id, user_id)

    async def add_missing(
        self, agent_id: str, memories: Sequence[NewMemory], is_counted: bool
    ) -> list[Imported]:
        """Store the agent's memories whose ids nobody has; what became of each. If `is_counted`, it
        is one write for the rate limit, unless all of them exist: those cost no embedding."""
        ids = {memory.id for memory in memories}
        summaries = {m.superseded_by for m in memories if m.superseded_by is not None}
        known = await self._store.transfers.known(agent_id, list(ids | summaries))
        outcomes = OutcomesById(memories, known)
        missing = outcomes.missing()
        if missing:
            limit = self._rate_limit("write", agent_id) if is_counted else None

            async def store(embedded: Embedded, unused: RateLimit | None) -> list[Imported]:
                return await self._store.transfers.insert_missing(
                    missing, embedded.embeddings, embedded.generation, unused
                )

            contents = [memory.content for memory in missing]
            outcomes.add(missing, await self._with_embeddings(contents, "passage", limit, store))
        return outcomes.in_order()

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        """Raises AgentsNotListed."""
        if not self._lists_agents:
            raise AgentsNotListed
        return await self._store.overview.list_agents(limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        return await self._store.overview.list_users(agent_id, limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        """The memories of each day from `since` on."""
        return await self._store.overview.timeline(agent_id, user_id, since)

    async def health(self) -> Health:
        db, embedder = await asyncio.gather(
            _answers(self._store.health.ping()), _answers(self._model.ping())
        )
        return Health(db, embedder)

    async def _with_embeddings(
        self, texts: Sequence[str], kind: TextKind, limit: RateLimit | None, call: _StoreCall[_T]
    ) -> _T:
        """The result of `call` to the store, given the texts' embeddings and the rate limit. If it
        is called again, with another model, the limit has been counted, and it is given none."""

        async def call_store(embedded: Embedded) -> _T:
            with self._refusals.remembered():
                return await call(embedded, limit if embedded.is_first_call else None)

        return await self._model.with_embeddings(texts, kind, call_store)

    def _rate_limit(self, operation: Operation, *agent_ids: str) -> RateLimit | None:
        """None if the operation is not limited. Raises RateLimited for an agent known to be over
        it."""
        limit = self._rate_limits[operation]
        if limit.per_minute == 0:
            return None
        for agent_id in agent_ids:
            self._refusals.check(limit, agent_id)
        return limit


def _found(found: _Found | None, memory_id: UUID) -> _Found:
    if found is None:
        raise MemoryNotFound(str(memory_id))
    return found


async def _answers(call: Awaitable[object]) -> bool:
    try:
        await asyncio.wait_for(call, _HEALTH_TIMEOUT_S)
    except Exception:  # whatever it is: it does not answer
        return False
    return True
