"""The MemoryStore's handle as its port: which calls may be made twice, and what counts once."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import date
from typing import TypeVar
from uuid import UUID

from ray.serve.handle import DeploymentHandle

from deployments.domain.errors import MemexError
from deployments.domain.overview import TallyPage, Timeline
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
    WriteKey,
)
from deployments.store.settings import FORGET_TIMEOUT_S
from serve_app.clients.edge import Edge, Once

_Call = TypeVar("_Call", InsertCall, SearchCall)


class RemoteStore:
    """The BatchedMemoryStore port over its handle.

    Reads are retried when a replica dies under them, and so are writes that may be made twice:
    an insert's ids are its caller's, an update sets values. A second try is not counted by the
    rate limit, since the first may have been. Deletions are not retried: a second one would report
    that there was nothing.
    """

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = Edge("store", handle, timeout_s)

    async def ping(self) -> None:
        await self._edge.call_again("ping")

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        generation: int = await self._edge.call_again("adopt_generation", identity)
        return generation

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        stored: list[Memory] = await self._edge.call_again(
            "insert", memories, embeddings, generation, Once(limit)
        )
        return stored

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        stored: list[Memory] = await self._edge.call_again(
            "insert_once", memories, embeddings, generation, limit, key
        )
        return stored

    async def search(
        self, query: SearchQuery, embedding: Embeddings, generation: int, limit: RateLimit | None
    ) -> list[Memory]:
        hits: list[Memory] = await self._edge.call_again(
            "search", query, embedding, generation, Once(limit)
        )
        return hits

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        stored: list[list[Memory] | MemexError] = await self._edge.call_again(
            "insert_each", Once(calls, lambda: _not_counted(calls))
        )
        return stored

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | None]:
        hits: list[list[Memory] | MemexError | None] = await self._edge.call_again(
            "search_each", Once(calls, lambda: _not_counted(calls))
        )
        return hits

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        memory: Memory | None = await self._edge.call_again("get", agent_id, memory_id)
        return memory

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
        page: Page = await self._edge.call_again(
            "list_page", agent_id, user_id, memory_type, limit, after, include_superseded, filters
        )
        return page

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        memory: Memory | None = await self._edge.call_again(
            "update", agent_id, memory_id, patch, embedding, generation, Once(limit)
        )
        return memory

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        versions: list[MemoryVersion] | None = await self._edge.call_again(
            "history", agent_id, memory_id, before, limit
        )
        return versions

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        deleted: bool = await self._edge.call_once("delete", agent_id, memory_id)
        return deleted

    async def forget(self, agent_id: str, user_id: str) -> int:
        deleted: int = await self._edge.call_once(
            "forget", agent_id, user_id, timeout_s=FORGET_TIMEOUT_S
        )
        return deleted

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        count: int = await self._edge.call_again("count", agent_id, user_id, include_superseded)
        return count

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        sources: list[Memory] | None = await self._edge.call_again("sources", agent_id, memory_id)
        return sources

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        restored: list[Memory] | None = await self._edge.call_once("restore", agent_id, memory_id)
        return restored

    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        async with aclosing(self._edge.stream("export", agent_id, user_id)) as pages:
            async for page in pages:
                yield page

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        known: set[UUID] = await self._edge.call_again("known", agent_id, ids)
        return known

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Imported]:
        outcomes: list[Imported] = await self._edge.call_again(
            "insert_missing", memories, embeddings, generation, Once(limit)
        )
        return outcomes

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        page: TallyPage = await self._edge.call_again("list_agents", limit, after)
        return page

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        page: TallyPage = await self._edge.call_again("list_users", agent_id, limit, after)
        return page

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        timeline: Timeline = await self._edge.call_again("timeline", agent_id, user_id, since)
        return timeline


def _not_counted(calls: Sequence[_Call]) -> list[_Call]:
    return [replace(call, limit=None) for call in calls]
