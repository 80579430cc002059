"""MemoryService: the API's operations, over the ports. REST and MCP both use it.

It rejects agents that this replica already knows to be rate-limited. Otherwise it embeds the text;
one call to the store then counts the request and stores or searches. Counting there saves every
request a second call. A rate-limited agent costs few embeddings, because each ingress replica
remembers a refusal until the window admits the agent again.
"""

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar
from uuid import UUID

from deployments.domain.entity_tags import Precondition
from deployments.domain.errors import AgentsNotListed, MemoryNotFound, Unavailable
from deployments.domain.memories import (
    ExportPage,
    ImportOutcome,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    NewMemory,
    Page,
    PageKey,
)
from deployments.domain.overview import TallyPage, Timeline
from deployments.domain.ports.embedding import Embedder
from deployments.domain.ports.store import Store
from deployments.domain.ports.summaries import Summariser
from deployments.domain.rate_limits import Operation, Quota, RateLimit
from deployments.domain.search import SearchQuery
from deployments.domain.searching.chunks import chunks_of
from deployments.domain.summaries import PassReport
from deployments.runtime.active_model import ActiveModel, Embedded
from serve_app.services.imports import OutcomesById
from serve_app.services.keyed_writes import KeyedWrites
from serve_app.services.limited_calls import LimitedCalls
from serve_app.services.rate_quotas import RateQuotas
from serve_app.services.reranking import Reranking, SearchResult

_HEALTH_TIMEOUT_S = 3.0
_PASS_BUDGET_S = 10.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the database and the embedder answer."""

    db: bool
    embedder: bool


class MemoryService:
    """All operations on memories. Callers validate the input."""

    def __init__(
        self,
        embedder: Embedder,
        store: Store,
        *,
        writes_per_minute: int = 0,
        searches_per_minute: int = 0,
        quotas: RateQuotas | None = None,
        reranking: Reranking | None = None,
        summariser: Summariser | None = None,
        observe_hits: Callable[[int], None] = lambda _hits: None,
        lists_agents: bool = True,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Rates are for each agent; 0 means no limit. `quotas` has what the store's calls report.
        `observe_hits` is called with each search's number of hits."""
        self._store = store
        self._model = ActiveModel(embedder, store.generations)
        self._calls = LimitedCalls(
            self._model,
            writes_per_minute,
            searches_per_minute,
            quotas or RateQuotas(monotonic_s),
            monotonic_s,
        )
        self.keyed = KeyedWrites(store, self._calls)
        self._reranking = reranking
        self._summariser = summariser
        self._observe_hits = observe_hits
        self._lists_agents = lists_agents

    async def adopt_model(self) -> None:
        """See `ActiveModel.adopt`."""
        await self._model.adopt()

    async def add(self, memories: Sequence[NewMemory]) -> list[Memory]:
        """Store all or none; the stored memories, in order. The rate limit counts one write for
        each agent among them."""
        limit = self._calls.rate_limit("write", *{memory.agent_id for memory in memories})

        async def store(embedded: Embedded, uncounted: RateLimit | None) -> list[Memory]:
            return await self._store.inserts.insert(
                memories, embedded.embeddings, embedded.generation, uncounted
            )

        contents = [memory.content for memory in memories]
        return await self._calls.with_embeddings(contents, "passage", limit, store)

    async def search(self, query: SearchQuery) -> SearchResult:
        """The scope's best `top_k`, best first. A long query is searched in chunks."""
        limit = self._calls.rate_limit("search", query.agent_id)
        chunks = chunks_of(query.text)
        if chunks:
            query = replace(query, chunks=chunks)
        widened = query if self._reranking is None else self._reranking.widen(query)

        async def find(embedded: Embedded, uncounted: RateLimit | None) -> list[Memory]:
            rows = embedded.embeddings if chunks else embedded.embeddings[0]
            return await self._store.searches.search(widened, rows, embedded.generation, uncounted)

        hits = await self._calls.with_embeddings(chunks or [query.text], "query", limit, find)
        result = SearchResult(hits)
        if self._reranking is not None:
            result = await self._reranking.apply(query, hits)
        self._observe_hits(len(result.hits))
        return result

    def quota(self, operation: Operation, *agent_ids: str) -> Quota | None:
        """After a call: the quota of the agent that has the fewest calls left; None if the
        operation is not limited, or no call was counted."""
        return self._calls.quota(operation, agent_ids)

    async def get(self, agent_id: str, memory_id: UUID) -> Memory:
        """Raises MemoryNotFound."""
        return _require(await self._store.memories.get(agent_id, memory_id), memory_id)

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

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        condition: Precondition | None = None,
    ) -> Memory:
        """Change some fields, and embed new content. Raises MemoryNotFound, Superseded,
        PreconditionFailed."""
        limit = self._calls.rate_limit("write", agent_id)
        update = functools.partial(
            self._store.memories.update, agent_id, memory_id, patch, condition=condition
        )
        if patch.content is None:
            with self._calls.recording():
                return _require(await update(None, None, limit), memory_id)

        async def store(embedded: Embedded, uncounted: RateLimit | None) -> Memory | None:
            return await update(embedded.embeddings[0], embedded.generation, uncounted)

        memory = await self._calls.with_embeddings([patch.content], "passage", limit, store)
        return _require(memory, memory_id)

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion]:
        """The memory's versions, newest first. Raises MemoryNotFound."""
        versions = await self._store.memories.history(agent_id, memory_id, before, limit)
        return _require(versions, memory_id)

    async def delete(
        self, agent_id: str, memory_id: UUID, condition: Precondition | None = None
    ) -> None:
        """Delete a memory. A summary's sources are deleted with it; a source's summary is deleted
        with it, and the other sources are restored. Raises MemoryNotFound, PreconditionFailed."""
        if not await self._store.memories.delete(agent_id, memory_id, condition):
            raise MemoryNotFound(str(memory_id))

    async def forget(self, agent_id: str, user_id: str) -> int:
        """Delete a whole scope; how many memories it had, without superseded ones."""
        return await self._store.memories.forget(agent_id, user_id)

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        return await self._store.memories.count(agent_id, user_id, include_superseded)

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory]:
        """A summary's sources, oldest first. Raises MemoryNotFound."""
        return _require(await self._store.summaries.sources(agent_id, memory_id), memory_id)

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory]:
        """Undo a summary; its sources, which are no longer superseded. Raises MemoryNotFound,
        NotASummary."""
        return _require(await self._store.summaries.restore(agent_id, memory_id), memory_id)

    async def summarise(self, agent_id: str | None, user_id: str | None) -> PassReport:
        """Run one pass now, over all scopes, the agent's scopes, or one scope, for at most 10 s.
        Raises Unavailable."""
        if self._summariser is None:
            raise Unavailable("summariser")
        return await self._summariser.run(agent_id, user_id, _PASS_BUDGET_S)

    def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """All memories of the agent, or of one of its users, as of the start, newest first. The
        caller closes the generator unless it reads all pages."""
        return self._store.transfers.export(agent_id, user_id)

    async def add_missing(
        self, agent_id: str, memories: Sequence[NewMemory], is_counted: bool
    ) -> list[ImportOutcome]:
        """Store the agent's memories whose ids do not exist; the outcome of each memory. If
        `is_counted`, the rate limit counts one write, unless all of them exist: then nothing is
        embedded."""
        ids = {memory.id for memory in memories}
        summaries = {m.superseded_by for m in memories if m.superseded_by is not None}
        known = await self._store.transfers.existing_ids(agent_id, list(ids | summaries))
        outcomes = OutcomesById(memories, known)
        missing = outcomes.missing()
        if missing:
            limit = self._calls.rate_limit("write", agent_id) if is_counted else None

            async def store(embedded: Embedded, uncounted: RateLimit | None) -> list[ImportOutcome]:
                return await self._store.transfers.insert_missing(
                    missing, embedded.embeddings, embedded.generation, uncounted
                )

            contents = [memory.content for memory in missing]
            outcomes.add(
                missing, await self._calls.with_embeddings(contents, "passage", limit, store)
            )
        return outcomes.in_order()

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        """Raises AgentsNotListed."""
        if not self._lists_agents:
            raise AgentsNotListed
        return await self._store.overview.list_agents(limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        return await self._store.overview.list_users(agent_id, limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        """The counts of each day's memories, from `since` on."""
        return await self._store.overview.timeline(agent_id, user_id, since)

    async def health(self) -> Health:
        db, embedder = await asyncio.gather(
            _is_answered(self._store.health.ping()), _is_answered(self._model.ping())
        )
        return Health(db, embedder)


def _require(result: _T | None, memory_id: UUID) -> _T:
    if result is None:
        raise MemoryNotFound(str(memory_id))
    return result


async def _is_answered(call: Awaitable[object]) -> bool:
    try:
        await asyncio.wait_for(call, _HEALTH_TIMEOUT_S)
    except Exception:
        return False
    return True
