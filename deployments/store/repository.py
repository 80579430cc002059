"""The memory store on Postgres: one method per statement, each within its scope."""

import math
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from pgvector import Vector

from deployments.domain.errors import RateLimited
from deployments.domain.types import (
    Embeddings,
    Memory,
    MemoryPatch,
    MemoryType,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
    SearchQuery,
)
from deployments.store.generations import adopt_generation
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql
from deployments.store.settings import FORGET_TIMEOUT_S, StoreSettings


class PostgresMemoryStore:
    """Implements the MemoryStore port."""

    def __init__(
        self,
        pool: Pool,
        settings: StoreSettings,
        count: Callable[[str, int], None] = lambda _operation, _memories: None,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._count = count

    async def ping(self) -> None:
        async with self._pool.acquire() as connection:
            await connection.fetchval("select 1")

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        async with self._pool.acquire() as connection:
            return await adopt_generation(connection, identity)

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        async with self._pool.acquire() as connection:
            if limit is not None:
                await _hit_all(connection, {memory.agent_id for memory in memories}, limit)
            ids = [memory.id for memory in memories]
            agent_ids = [memory.agent_id for memory in memories]
            rows = await connection.fetch(
                sql("insert_memories"),
                ids,
                agent_ids,
                [memory.user_id for memory in memories],
                [memory.content for memory in memories],
                [Vector(row) for row in embeddings],  # asyncpg takes arrays apart
                generation,
                [memory.importance for memory in memories],
                [memory.memory_type for memory in memories],
                [memory.metadata for memory in memories],
                [memory.created_at for memory in memories],
            )
            if len(rows) < len(memories):
                rows = await connection.fetch(sql("select_inserted"), ids, agent_ids)
        self._count("insert", len(rows))
        stored = {row["id"]: _memory(row) for row in rows}
        return [stored[memory_id] for memory_id in ids]

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        async with self._pool.acquire() as connection:
            if limit is not None:
                await _hit(connection, query.agent_id, limit)
            rows = await connection.fetch(
                sql("search"), *search_arguments(query, embedding, generation, self._settings)
            )
        self._count("search", 1)
        return [_memory(row, row["score"]) for row in rows]

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(sql("get_memory"), agent_id, memory_id)
        return None if row is None else _memory(row)

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        memory_type: str | None,
        limit: int,
        after: PageKey | None,
    ) -> Page:
        key = (None, None) if after is None else (after.created_at, after.id)
        one_more = limit + 1  # tells whether there is a next page
        async with self._pool.acquire() as connection:
            if user_id is None:
                rows = await connection.fetch(
                    sql("list_of_agent"), agent_id, memory_type, one_more, *key
                )
            else:
                rows = await connection.fetch(
                    sql("list_of_user"), agent_id, user_id, memory_type, one_more, *key
                )
        memories = [_memory(row) for row in rows[:limit]]
        more = len(rows) > limit
        next_key = PageKey(memories[-1].created_at, memories[-1].id) if more else None
        return Page(memories, next_key)

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        async with self._pool.acquire() as connection:
            if limit is not None:
                await _hit(connection, agent_id, limit)
            row = await connection.fetchrow(
                sql("update_memory"),
                agent_id,
                memory_id,
                patch.content,
                embedding,
                generation,
                patch.importance,
                patch.memory_type,
                patch.metadata,
            )
        self._count("update", 0 if row is None else 1)
        return None if row is None else _memory(row)

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        async with self._pool.acquire() as connection:
            found = await connection.fetchval(sql("delete_memory"), agent_id, memory_id)
        self._count("delete", 0 if found is None else 1)
        return found is not None

    async def forget(self, agent_id: str, user_id: str) -> int:
        async with self._pool.acquire() as connection:
            deleted = int(
                await connection.fetchval(
                    sql("forget_scope"), agent_id, user_id, timeout=FORGET_TIMEOUT_S
                )
            )
        self._count("delete", deleted)
        return deleted

    async def count(self, agent_id: str, user_id: str | None) -> int:
        async with self._pool.acquire() as connection:
            if user_id is None:
                return int(await connection.fetchval(sql("count_of_agent"), agent_id))
            return int(await connection.fetchval(sql("count_of_user"), agent_id, user_id))

    async def purge_rate_limits(self) -> None:
        """Drop the counters of agents that made no call in the last minute."""
        async with self._pool.acquire() as connection:
            await connection.execute(sql("purge_rate_limits"))


def search_arguments(
    query: SearchQuery, embedding: Embeddings, generation: int, settings: StoreSettings
) -> tuple[Any, ...]:
    """The parameters of the `search` statement, in its order."""
    return (
        query.agent_id,
        query.user_id,
        embedding,
        generation,
        query.top_k,
        query.ranking.alpha,
        query.ranking.half_life_days,
        query.ranking.importance_weight,
        query.filters.memory_type,
        query.filters.metadata,
        query.filters.created_after,
        query.filters.created_before,
        query.filters.min_score,
        settings.exact_search_rows,
        max(settings.search_candidates, query.top_k),
        query.as_of,
    )


async def _hit_all(connection: Connection, agent_ids: set[str], limit: RateLimit) -> None:
    if len(agent_ids) == 1:
        (agent_id,) = agent_ids
        await _hit(connection, agent_id, limit)
        return
    # One agent's refusal takes the others' hits back. Sorted, so that no two wait in a circle.
    async with connection.transaction():
        for agent_id in sorted(agent_ids):
            await _hit(connection, agent_id, limit)


async def _hit(connection: Connection, agent_id: str, limit: RateLimit) -> None:
    # Committed on its own: inside the write's transaction the row's lock would make an agent's
    # writes wait for one another's commits.
    row = await connection.fetchrow(
        sql("hit_rate_limit"), agent_id, limit.operation, limit.per_minute
    )
    if not row["allowed"]:
        retry_after_s = max(0.0, float(row["retry_after_s"]))
        raise RateLimited(
            agent_id, limit.operation, limit.per_minute, math.ceil(retry_after_s * 10) / 10
        )


def _memory(row: Any, score: float | None = None) -> Memory:
    return Memory(
        id=UUID(int=row["id"].int),
        agent_id=row["agent_id"],
        user_id=row["user_id"],
        content=row["content"],
        importance=row["importance"],
        memory_type=MemoryType(row["memory_type"]),
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        score=score,
    )
