"""MemoryService: what the API can do, over the ports. REST and MCP both stand on it.

The order of a call is: refuse at once what is known to be over its limit, embed, then count and
store (or rank) in one call to the store. Counting there saves a hop on every request; what an
agent that is over its limit can cost in embeddings stays small, since each ingress replica
remembers its refusal until the window lets it in again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar
from uuid import UUID

from deployments.domain.errors import AgentsNotListed, MemoryNotFound, Unavailable
from deployments.domain.ids import uuid7
from deployments.domain.model_in_use import ModelInUse
from deployments.domain.overview import TallyPage, Timeline
from deployments.domain.ports import Embedder, MemoryStore, Summariser
from deployments.domain.summaries import PassReport
from deployments.domain.types import (
    Embeddings,
    ExportPage,
    Imported,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    NewMemory,
    Operation,
    Page,
    PageKey,
    RateLimit,
    SearchQuery,
    TextKind,
    WriteKey,
)
from serve_app.refusals import Refusals
from serve_app.reranking import Reranking, SearchResult

_HEALTH_TIMEOUT_S = 3.0
_PASS_BUDGET_S = 10.0

_Found = TypeVar("_Found")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Health:
    """What answers."""

    db: bool
    embedder: bool


class MemoryService:
    """All operations on memories. Input is validated before it comes here."""

    def __init__(
        self,
        embedder: Embedder,
        store: MemoryStore,
        writes_per_minute: int,
        searches_per_minute: int,
        monotonic_s: Callable[[], float] = time.monotonic,
        reranking: Reranking | None = None,
        summariser: Summariser | None = None,
        found: Callable[[int], None] = lambda _memories: None,
        lists_agents: bool = True,
    ) -> None:
        """`found` is told how many memories each search has found."""
        self._store = store
        self._model = ModelInUse(embedder, store)
        self._limits = {
            "write": RateLimit("write", writes_per_minute),
            "search": RateLimit("search", searches_per_minute),
        }
        self._reranking = reranking
        self._summariser = summariser
        self._tell_found = found
        self._lists_agents = lists_agents
        self._refusals = Refusals(monotonic_s)

    async def adopt_model(self) -> None:
        """As ModelInUse says."""
        await self._model.adopt()

    async def _with_embeddings(
        self,
        texts: Sequence[str],
        kind: TextKind,
        limit: RateLimit | None,
        call: Callable[[Embeddings, int, RateLimit | None], Awaitable[_T]],
    ) -> _T:
        """What `call` to the store returns, given the texts' rows, their generation and the limit.
        Where it is made again with another model, the limit has been counted."""
        left = limit

        async def noted(rows: Embeddings, generation: int) -> _T:
            nonlocal left
            counted, left = left, None
            with self._refusals.noted():
                return await call(rows, generation, counted)

        return await self._model.with_embeddings(texts, kind, noted)

    async def add(self, memories: Sequence[NewMemory], key: WriteKey | None = None) -> list[Memory]:
        """Store all or none; returns them in order. One write for the rate limit of each agent
        among them, however many. With a key, of one agent's memories, it is done once however
        often it is called; raises KeyInUse, KeyReused."""
        limit = self._limit("write", *{memory.agent_id for memory in memories})

        async def store(rows: Embeddings, generation: int, left: RateLimit | None) -> list[Memory]:
            if key is not None:  # what is refused under a key has not been counted
                return await self._store.insert_once(memories, rows, generation, limit, key)
            return await self._store.insert(memories, rows, generation, left)

        return await self._with_embeddings([m.content for m in memories], "passage", limit, store)

    async def search(self, query: SearchQuery) -> SearchResult:
        """The scope's best `top_k`, best first."""
        limit = self._limit("search", query.agent_id)
        asked = query if self._reranking is None else self._reranking.widened(query)

        async def find(rows: Embeddings, generation: int, left: RateLimit | None) -> list[Memory]:
            return await self._store.search(asked, rows[0], generation, left)

        hits = await self._with_embeddings([query.text], "query", limit, find)
        result = SearchResult(hits)
        if self._reranking is not None:
            result = await self._reranking.applied(query, hits)
        self._tell_found(len(result.hits))
        return result

    async def get(self, agent_id: str, memory_id: UUID) -> Memory:
        """Raises MemoryNotFound."""
        return _found(await self._store.get(agent_id, memory_id), memory_id)

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        memory_type: str | None,
        limit: int,
        after: PageKey | None,
        include_superseded: bool = False,
        filters: ListFilters | None = None,
    ) -> Page:
        """At most `limit` memories, newest first."""
        return await self._store.list_page(
            agent_id, user_id, memory_type, limit, after, include_superseded, filters
        )

    async def update(self, agent_id: str, memory_id: UUID, patch: MemoryPatch) -> Memory:
        """Change some fields; new content is embedded anew. Raises MemoryNotFound, Superseded."""
        limit = self._limit("write", agent_id)
        if patch.content is None:
            with self._refusals.noted():
                memory = await self._store.update(agent_id, memory_id, patch, None, None, limit)
            return _found(memory, memory_id)

        async def change(
            rows: Embeddings, generation: int, left: RateLimit | None
        ) -> Memory | None:
            return await self._store.update(agent_id, memory_id, patch, rows[0], generation, left)

        memory = await self._with_embeddings([patch.content], "passage", limit, change)
        return _found(memory, memory_id)

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion]:
        """What it said before each change, newest first. Raises MemoryNotFound."""
        return _found(await self._store.history(agent_id, memory_id, before, limit), memory_id)

    async def delete(self, agent_id: str, memory_id: UUID) -> None:
        """With what was made of it, and with what it was made of. Raises MemoryNotFound."""
        if not await self._store.delete(agent_id, memory_id):
            raise MemoryNotFound(str(memory_id))

    async def forget(self, agent_id: str, user_id: str) -> int:
        """Delete everything of one user of an agent; returns how many memories that were."""
        return await self._store.forget(agent_id, user_id)

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        return await self._store.count(agent_id, user_id, include_superseded)

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory]:
        """What a summary was made of, oldest first. Raises MemoryNotFound."""
        return _found(await self._store.sources(agent_id, memory_id), memory_id)

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory]:
        """Undo a summary; its sources, which are back. Raises MemoryNotFound, NotASummary."""
        return _found(await self._store.restore(agent_id, memory_id), memory_id)

    async def summarise(self, agent_id: str | None, user_id: str | None) -> PassReport:
        """One pass now, over all scopes, the agent's, or the one, for some seconds at most."""
        if self._summariser is None:
            raise Unavailable("summariser")
        return await self._summariser.run(agent_id, user_id, _PASS_BUDGET_S)

    def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """All of the agent's memories, or of a user's, as they were at its start, newest first.
        To be closed where it is not read to its end."""
        return self._store.export(agent_id, user_id)

    async def add_missing(
        self, agent_id: str, memories: Sequence[NewMemory], is_counted: bool
    ) -> list[Imported]:
        """Store the agent's memories whose ids nobody has; what became of each. One write for the
        rate limit where `is_counted`, unless all are there already: those cost no embedding."""
        ids = {memory.id for memory in memories}
        summaries = {m.superseded_by for m in memories if m.superseded_by is not None}
        known = await self._store.known(agent_id, list(ids | summaries))
        missing: dict[UUID, NewMemory] = {}
        became = dict.fromkeys(known, Imported.THERE)
        for memory in memories:
            if memory.superseded_by not in (None, *known, *ids):
                became.setdefault(memory.id, Imported.ORPHANED)
            elif memory.id not in known:
                missing.setdefault(memory.id, memory)
        if missing:
            new = list(missing.values())
            limit = self._limit("write", agent_id) if is_counted else None

            async def store(
                rows: Embeddings, generation: int, left: RateLimit | None
            ) -> list[Imported]:
                return await self._store.insert_missing(new, rows, generation, left)

            contents = [memory.content for memory in new]
            outcomes = await self._with_embeddings(contents, "passage", limit, store)
            became |= zip(missing, outcomes, strict=True)
        said: list[Imported] = []
        for memory in memories:
            said.append(became[memory.id])
            if became[memory.id] is Imported.STORED:
                became[memory.id] = Imported.THERE  # for the next one of that id
        return said

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        """Raises AgentsNotListed."""
        if not self._lists_agents:
            raise AgentsNotListed
        return await self._store.list_agents(limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        return await self._store.list_users(agent_id, limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        """The memories of each day from `since` on."""
        return await self._store.timeline(agent_id, user_id, since)

    async def health(self) -> Health:
        """Whether what is behind the ingress answers."""
        db, embedder = await asyncio.gather(
            _answers(self._store.ping()), _answers(self._model.answers())
        )
        return Health(db, embedder)

    def _limit(self, operation: Operation, *agent_ids: str) -> RateLimit | None:
        limit = self._limits[operation]
        if limit.per_minute == 0:
            return None
        for agent_id in agent_ids:
            self._refusals.check(limit, agent_id)
        return limit


def new_id() -> UUID:
    """An id for a NewMemory."""
    return uuid7()


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
