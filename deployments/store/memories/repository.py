"""The repository of stored memories: it reads, lists, changes, deletes and counts them within an
agent or scope."""

from collections.abc import Callable
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.memories import (
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    Page,
    PageKey,
)
from deployments.domain.rate_limits import RateLimit
from deployments.store.memories.changes import MemoryChanges
from deployments.store.memories.listing import count, list_statement
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.postgres.pool import Pool
from deployments.store.postgres.rows import memory_of, version_of
from deployments.store.sql import sql


class MemoryRepository:
    """Implements the Memories port."""

    def __init__(
        self,
        pool: Pool,
        changes: MemoryChanges,
        rate_limits: RateLimits,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._rate_limits = rate_limits
        self._count = count

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(*sql.get_memory(agent_id=agent_id, memory_id=memory_id))
        return None if row is None else memory_of(row)

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        *,
        page_size: int,
        after: PageKey | None = None,
        filters: ListFilters = ListFilters(),
    ) -> Page:
        # One more row than the page shows whether there is a next page.
        statement = list_statement(agent_id, user_id, filters, after, page_size + 1)
        async with self._pool.acquire() as connection:
            if filters.metadata is None:
                rows = await connection.fetch(*statement)
            else:  # the best plan depends on the values: the metadata index helps if few pass
                async with connection.transaction(readonly=True):
                    await connection.execute(*sql.plan_for_values())
                    rows = await connection.fetch(*statement)
        memories = [memory_of(row) for row in rows[:page_size]]
        has_next = len(rows) > page_size
        next_key = PageKey(memories[-1].created_at, memories[-1].id) if has_next else None
        return Page(memories, next_key)

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
        async with self._pool.acquire() as connection:
            await self._rate_limits.hit_one(connection, agent_id, rate_limit)
            memory = await self._changes.update(
                connection, agent_id, memory_id, patch, embedding, generation, condition
            )
        self._count("update", 0 if memory is None else 1)
        return memory

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                *sql.memory_versions(
                    agent_id=agent_id,
                    memory_id=memory_id,
                    before_version=before,
                    max_versions=limit,
                )
            )
        versions = [version_of(row) for row in rows if row["version"] is not None]
        return versions if rows else None

    async def delete(
        self, agent_id: str, memory_id: UUID, condition: Precondition | None = None
    ) -> bool:
        async with self._pool.acquire() as connection:
            is_deleted = await self._changes.delete(connection, agent_id, memory_id, condition)
        self._count("delete", int(is_deleted))
        return is_deleted

    async def forget(self, agent_id: str, user_id: str) -> int:
        async with self._pool.acquire() as connection:
            deleted = await self._changes.forget(connection, agent_id, user_id)
        self._count("delete", deleted)
        return deleted

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        async with self._pool.acquire() as connection:
            return await count(connection, agent_id, user_id, include_superseded)
