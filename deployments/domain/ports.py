"""What the service needs of the nodes behind it. The graph's deployments and the tests' fakes
both have these shapes; a port's docstring is its contract."""

from collections.abc import AsyncGenerator, Sequence
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

from deployments.domain.errors import MemexError
from deployments.domain.overview import TallyPage, Timeline
from deployments.domain.summaries import Condensation, PassReport, ScopeToCondense, Source
from deployments.domain.types import (
    Embeddings,
    ExportPage,
    Imported,
    InsertCall,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
    SearchCall,
    SearchQuery,
    TextKind,
    TextsOfKind,
    WriteKey,
)


class Encoder(Protocol):
    """A model in this process."""

    @property
    def identity(self) -> ModelIdentity: ...

    def encode(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """`(len(texts), dimensions) float32`, L2-normalised rows, in the order of `texts`."""
        ...


class Embedder(Protocol):
    """Texts to embeddings, wherever the model runs. Raises Unavailable."""

    async def identity(self) -> ModelIdentity:
        """Of the model that the settings name."""
        ...

    async def has(self, identity: ModelIdentity) -> bool:
        """Whether that model answers here, or is to: memories may have been moved to another one
        than the settings name. Raises Unavailable where it does not answer now."""
        ...

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        """`(len(texts), dimensions) float32`, L2-normalised rows, in the order of `texts`.

        Raises Unavailable also where another model than `identity` answers, as it may while one
        version of the graph takes over from another, and GenerationRetired where the model was
        taken away because memories have been moved to another one.
        """
        ...


class BatchedEmbedder(Embedder, Protocol):
    """An Embedder that also takes several callers' texts at once, whatever their kinds."""

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        """The rows of all callers, one after the other. Raises as `embed` does."""
        ...


class MemoryStore(Protocol):
    """Memories at rest, ranked where they lie. Every call carries its scope.

    All raise Unavailable where the database does not answer; those that take a `limit` raise
    RateLimited when the agent has used it up, and then change nothing. What returns has been
    committed.

    Those that take embeddings take their generation, too, and raise GenerationRetired where it is
    no longer the one in use: they then have changed nothing but counted the limit. (A write under
    a key has not counted it, either.)
    """

    async def ping(self) -> None: ...

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        """The number of this model's embedding generation, recorded on the first call.

        Raises ModelMismatch where the stored embeddings were made by another model, or memories
        were moved to it, if there be none any more.
        """
        ...

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        """All of them or none, in order. A memory whose id is there already is left as it is and
        returned, so that a call may be made again when its answer was lost. The limit is of
        calls: one for each agent among the memories, however many of them it has."""
        ...

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        """As `insert`, of one agent's memories; under a key of the last 24 hours it stores nothing
        and returns what the first call returned. Raises KeyInUse, KeyReused."""
        ...

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        """Best first: score, then newest, then id (descending). `embedding` is `(D,) float32`."""
        ...

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None: ...

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
        """Newest first, then id (descending). What was condensed is not among them, nor in a count
        or a search, unless asked for; `get` finds it."""
        ...

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        """`embedding` (`(D,) float32`) and its generation come with new content, and only
        then. Raises Superseded."""
        ...

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        """What it said before each change, newest first; `before` a version. None where there is
        no such memory. The versions go with the memory."""
        ...

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        """With a summary go its sources. With a source goes the summary that was made of it, and
        the other sources are as they were before."""
        ...

    async def forget(self, agent_id: str, user_id: str) -> int:
        """Delete the whole scope; how many memories that were, without those condensed."""
        ...

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int: ...

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        """What a summary was made of, oldest first; none of another memory. None where there is no
        such memory."""
        ...

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        """Undo a summary: it goes, its sources are back, oldest first, and are not condensed again.
        None where there is no such memory. Raises NotASummary."""
        ...

    def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """All memories of the agent, or of one user of it, those condensed with them, newest first,
        then by id (descending): as they are when the first page is read, whatever is written until
        the last. There is always a first.

        It holds a connection until its end or until it is closed, and breaks off with Unavailable
        where no page is asked for for too long. Raises TooManyExports.
        """
        ...

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        """Those ids that memories of this agent have."""
        ...

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Imported]:
        """Those of one agent's memories whose ids nobody has, all in one commit; what became of
        each. The others' ids, and memories that say the same, are left as they are."""
        ...

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        """All agents that have memories: the only call that is not of one agent."""
        ...

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage: ...

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline: ...


class BatchedMemoryStore(MemoryStore, Protocol):
    """A MemoryStore that also takes several calls at once: what is answered has been committed, and
    each call fails alone with what it would have raised, returned in its place."""

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        """Each call's memories are of one agent. All calls are committed together."""
        ...

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | None]:
        """None for a search that would keep the others waiting: its limit has been counted, and it
        is to be made alone. Where there is but one call it is answered."""
        ...


class Reranker(Protocol):
    """A model that reads a query and a text together, wherever it runs. Raises Unavailable."""

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers `query`, in the order of `texts`: higher is better, on a
        scale of the model's own.

        Raises Unavailable also where the answer does not come soon enough to be waited for.
        """
        ...


class SummaryStore(Protocol):
    """What the summariser needs of the store. All raise Unavailable."""

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        """As of MemoryStore."""
        ...

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        """The next so many scopes that have anything to condense, ordered by agent and user."""
        ...

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        """Oldest first; none where there are not more than the threshold."""
        ...

    async def condense(self, condensation: Condensation) -> Memory | None:
        """Stores the summary and hides its sources in one transaction. None, and nothing done,
        where a source has changed or gone since it was read. Raises GenerationRetired."""
        ...

    async def purge_superseded(self, before: datetime) -> int:
        """Deletes what was condensed before then; the summaries stay. How many that were."""
        ...


class Summariser(Protocol):
    """Condenses what is due, wherever it runs. Raises Unavailable."""

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        """One pass over all scopes, or the agent's, or the one; ends when its time is up."""
        ...
