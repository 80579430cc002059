"""Ports of the memory store, one for each group of calls, and `Store`, which combines them.

Every call names its scope. All calls raise Unavailable if the database does not answer. A call that
returns has been committed.

A call with a `rate_limit` raises RateLimited if the agent has used it up, and then changes nothing.
A call with embeddings also takes their generation, and raises GenerationRetired if that generation
is no longer in use. It has then changed nothing, except that its rate limit was counted; for a
write under a key, not even that. A call with a `condition` raises PreconditionFailed unless the
memory meets it at the moment of the change.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

from deployments.domain.embeddings import Embeddings, ModelIdentity
from deployments.domain.entity_tags import Precondition
from deployments.domain.errors import MemexError
from deployments.domain.memories import (
    ExportPage,
    ImportOutcome,
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
from deployments.domain.ports.keyed_writes import KeyedWrites
from deployments.domain.ports.summaries import Condensing, Summaries
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery


class Health(Protocol):
    async def ping(self) -> None:
        """Raises Unavailable if the database does not answer."""
        ...


class Generations(Protocol):
    """Which model made the stored embeddings."""

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        """The number of this model's generation, which the first call records.

        Raises ModelMismatch if another model made the stored embeddings, or if memories were moved
        to another model, even if none is left.
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
        """Store all memories or none; return them in order. If an id exists, its memory is left
        unchanged and returned, so a call whose answer was lost can be repeated. The rate limit
        counts one call for each agent among the memories, however many memories it has."""
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

    async def first_insert(
        self, memories: Sequence[NewMemory], key: WriteKey
    ) -> list[Memory] | None:
        """What `insert_once` returned first for these memories and this key; None if the key was
        not used. Raises KeyReused."""
        ...


class BatchedInserts(Inserts, Protocol):
    """Inserts that also accept several calls at once."""

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        """The memories or the error of each call. A call's memories belong to one agent. All calls
        are committed together; one that fails does not affect the others, and the error that it
        would have raised is returned in its place."""
        ...


class Searches(Protocol):
    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        """The hits, best first: by score, then newest, then id (descending), unless near-copies or
        chunks change the order (searching/pages.py). `embedding` is `(D,) float32`; if the query
        has chunks, `(C, D)`, a row for each.

        With `as_of`, memories are found and returned as they were then: in the version of that
        time, superseded ones if they were not yet, expired ones if they had not and are still
        kept. Memories deleted since are not found; nor are summaries made since, as long as their
        sources exist.
        """
        ...


class BatchedSearches(Searches, Protocol):
    """Searches that also accept several calls at once."""

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
        """One page, newest first, then by id (descending). Lists, counts and searches leave out
        superseded memories unless they include them explicitly; `get` returns them."""
        ...

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        rate_limit: RateLimit | None,
        condition: Precondition | None = None,
    ) -> Memory | None:
        """The changed memory; None if the agent has no such memory. `embedding`, `(D,) float32`,
        and its generation are given if and only if the patch has content. Raises Superseded."""
        ...

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        """Up to `limit` versions before version `before`, newest first. None if the agent has no
        such memory. Deleting a memory deletes its versions."""
        ...

    async def delete(
        self, agent_id: str, memory_id: UUID, condition: Precondition | None = None
    ) -> bool:
        """Whether the memory existed. Deleting a summary deletes its sources. Deleting a source
        deletes its summary and restores the other sources. An expired memory exists as long as
        searches as of an earlier time find it."""
        ...

    async def forget(self, agent_id: str, user_id: str) -> int:
        """Delete the whole scope; return how many memories it had, without superseded and expired
        ones."""
        ...

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int: ...


class Transfers(Protocol):
    """Exports and imports."""

    def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """All memories of the agent, or of one of its users, including superseded ones, newest
        first, then by id (descending), as they are when the first page is read; later writes do not
        change the export. There is always at least one page.

        An export holds a connection until it ends or is closed. If the caller requests no page for
        120 s, the export ends with Unavailable. Raises TooManyExports.
        """
        ...

    async def existing_ids(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        """The ids among `ids` that are ids of this agent's memories."""
        ...

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[ImportOutcome]:
        """Store, in one commit, the memories whose ids no agent has; return each one's outcome. All
        belong to one agent. Existing memories are left unchanged, identical ones too."""
        ...


class Overview(Protocol):
    """What a store contains, without contents."""

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        """The agents that have memories: the only call that is not limited to one agent."""
        ...

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage: ...

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline: ...


@dataclass(frozen=True)
class Store:
    """The memory store, in this process or another."""

    health: Health
    generations: Generations
    inserts: Inserts
    searches: Searches
    memories: Memories
    keyed_writes: KeyedWrites
    summaries: Summaries
    transfers: Transfers
    overview: Overview
    condensing: Condensing


@dataclass(frozen=True)
class BatchedStore(Store):
    """A Store that also accepts several inserts or searches at once."""

    inserts: BatchedInserts
    searches: BatchedSearches
