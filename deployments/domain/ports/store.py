"""Ports of the memory store, one for each of its rooms, and `Store`, which holds them all.

Every call carries its scope. All raise Unavailable if the database does not answer. A call that
returns has been committed.

A call with a `rate_limit` raises RateLimited if the agent has used it up, and then changes nothing.
A call with embeddings also takes their generation, and raises GenerationRetired if that generation
is no longer in use: it has then changed nothing except that its rate limit was counted. (A write
under a key has not counted it either.)
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

from deployments.domain.embeddings import Embeddings, ModelIdentity
from deployments.domain.errors import MemexError
from deployments.domain.memories import (
    ExportPage,
    Imported,
    InsertCall,
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
from deployments.domain.ports.summaries import Condensing, Summaries
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery


class Health(Protocol):
    async def ping(self) -> None:
        """Raises Unavailable if the database does not answer."""
        ...


class Generations(Protocol):
    """Which model the stored embeddings are of."""

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        """The number of this model's embedding generation, recorded on the first call.

        Raises ModelMismatch if another model made the stored embeddings, or if memories were moved
        to another model, even when none is left.
        """
        ...


class Inserts(Protocol):
    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        """Store all of them or none; they are returned in order. If an id exists, its memory is
        left unchanged and returned, so that a call whose answer was lost can be made again. The
        rate limit counts one call for each agent among the memories, however many it has."""
        ...

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        """As `insert`, for one agent's memories. If the key was used in the last 24 hours, nothing
        is stored and the first call's answer is returned. Raises KeyInUse, KeyReused."""
        ...


class BatchedInserts(Inserts, Protocol):
    """Inserts that also take several calls at once."""

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        """Each call's memories are one agent's. All calls are committed together; a call that fails
        fails alone, with the error it would have raised in its place."""
        ...


class Searches(Protocol):
    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        """Best first: by score, then newest, then id (descending). `embedding` is `(D,)
        float32`."""
        ...


class BatchedSearches(Searches, Protocol):
    """Searches that also take several calls at once."""

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | Deferred]:
        """Each call's hits, the error it would have raised, or Deferred. A single call is never
        deferred."""
        ...


class Memories(Protocol):
    """Stored memories, one by one and by scope."""

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None: ...

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        *,
        page_size: int,
        after: PageKey | None = None,
        filters: ListFilters = ListFilters(),
    ) -> Page:
        """Newest first, then by id (descending). Superseded memories are left out here, in counts
        and in searches, unless asked for; `get` finds them."""
        ...

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        rate_limit: RateLimit | None,
    ) -> Memory | None:
        """`embedding` (`(D,) float32`) and its generation come with new content, and only then.
        Raises Superseded."""
        ...

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        """Up to `limit` versions before version `before`, newest first. None if the agent has no
        such memory. Deleting a memory deletes its versions."""
        ...

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        """Whether there was such a memory. Deleting a summary deletes its sources. Deleting a
        source deletes the summary made of it and shows the other sources again."""
        ...

    async def forget(self, agent_id: str, user_id: str) -> int:
        """Delete the whole scope; how many memories it had, without superseded ones."""
        ...

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int: ...


class Transfers(Protocol):
    """Exports and imports."""

    def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """All memories of the agent, or of one of its users, superseded ones included, newest
        first, then by id (descending): as they are when the first page is read, whatever is written
        until the last. There is always a first page.

        An export holds a connection until it ends or is closed. If no page is asked for in 120 s,
        it ends with Unavailable. Raises TooManyExports.
        """
        ...

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        """Those of the ids that memories of this agent have."""
        ...

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Imported]:
        """Store, in one commit, those of one agent's memories whose ids nobody has; what became of
        each. Memories that exist are left unchanged, identical ones too."""
        ...


class Overview(Protocol):
    """What a store holds, without contents."""

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        """All agents that have memories: the only call that is not about one agent."""
        ...

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage: ...

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline: ...


@dataclass(frozen=True)
class Store:
    """The memory store, wherever it runs: memories at rest, ranked where they lie."""

    health: Health
    generations: Generations
    inserts: Inserts
    searches: Searches
    memories: Memories
    summaries: Summaries
    transfers: Transfers
    overview: Overview
    condensing: Condensing


@dataclass(frozen=True)
class BatchedStore(Store):
    """A Store that also takes several inserts or searches at once."""

    inserts: BatchedInserts
    searches: BatchedSearches
