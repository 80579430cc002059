"""The memories that the parts of the in-memory store share."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from deployments.domain.errors import GenerationRetired, ModelMismatch, RateLimited, Unavailable
from deployments.domain.types import (
    Embeddings,
    ListFilters,
    Memory,
    MemoryVersion,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
)
from tests.fakes.filters import passes


class Rows:
    """Dicts, and what nearly every part does with them; `down` makes all of it unavailable."""

    def __init__(self) -> None:
        self.down = False
        self._rows: dict[UUID, tuple[Memory, Embeddings]] = {}
        self._versions: dict[UUID, list[MemoryVersion]] = {}
        self._kept: set[UUID] = set()
        self._hits: dict[tuple[str, str], list[float]] = {}
        self._identity: ModelIdentity | None = None
        self._generation = 1
        self._is_reembedded = False

    async def ping(self) -> None:
        if self.down:
            raise Unavailable("database")
        now = datetime.now(UTC)
        for memory, _ in list(self._rows.values()):
            if memory.expires_at is not None and memory.expires_at <= now:
                self._drop(memory.id)

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        await self.ping()
        if self._identity not in (None, identity) and (self._rows or self._is_reembedded):
            raise ModelMismatch("another model", self._identity)
        self._identity = identity
        return self._generation

    def switch(self, identity: ModelIdentity) -> None:
        """As if all memories had been embedded with that model."""
        self._identity, self._is_reembedded = identity, True
        self._generation += 1

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        await self.ping()
        for agent_id in sorted({memory.agent_id for memory in memories}):
            self._hit(agent_id, limit)
        self._check(generation)
        now = datetime.now(UTC)
        for memory, embedding in zip(memories, embeddings, strict=True):
            stored = Memory(
                id=memory.id,
                agent_id=memory.agent_id,
                user_id=memory.user_id,
                content=memory.content,
                importance=memory.importance,
                memory_type=memory.memory_type,
                metadata=memory.metadata,
                created_at=memory.created_at or now,
                updated_at=memory.updated_at or now,
                expires_at=memory.expires_at,
            )
            self._rows.setdefault(memory.id, (stored, embedding))
        return [self._rows[memory.id][0] for memory in memories]

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        await self.ping()
        memory, _ = self._rows.get(memory_id, (None, None))
        return memory if memory is not None and memory.agent_id == agent_id else None

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
        await self.ping()
        found = sorted(
            (
                memory
                for memory, _ in self._rows.values()
                if memory.agent_id == agent_id
                and user_id in (None, memory.user_id)
                and memory_type in (None, memory.memory_type)
                and (include_superseded or memory.superseded_by is None)
                and (filters is None or passes(memory, filters))
                and (after is None or (memory.created_at, memory.id) < (after.created_at, after.id))
            ),
            key=lambda memory: (memory.created_at, memory.id),
            reverse=True,
        )
        page = found[:limit]
        more = len(found) > limit
        return Page(page, PageKey(page[-1].created_at, page[-1].id) if more else None)

    def _hit(self, agent_id: str, limit: RateLimit | None) -> None:
        if limit is None:
            return
        now = time.monotonic()
        live = [at for at in self._hits.get((agent_id, limit.operation), []) if at > now - 60]
        if len(live) >= limit.per_minute:
            retry_after_s = live[-limit.per_minute] + 60 - now
            raise RateLimited(agent_id, limit.operation, limit.per_minute, retry_after_s)
        self._hits[(agent_id, limit.operation)] = [*live, now]

    def _check(self, generation: int) -> None:
        if generation != self._generation:
            raise GenerationRetired

    def _put(self, memory: Memory) -> None:
        self._rows[memory.id] = (memory, self._rows[memory.id][1])

    def _drop(self, memory_id: UUID) -> None:
        """With all that is known of it."""
        del self._rows[memory_id]
        self._versions.pop(memory_id, None)
        self._kept.discard(memory_id)

    def _sources_of(self, summary_id: UUID) -> list[Memory]:
        found = (memory for memory, _ in self._rows.values() if memory.superseded_by == summary_id)
        return sorted(found, key=lambda memory: (memory.created_at, memory.id))
