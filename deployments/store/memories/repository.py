"""The repository of stored memories: it reads, lists, changes, deletes and counts them within an
agent or scope."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import GenerationRetired, Superseded
from deployments.domain.memories import (
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    Page,
    PageKey,
)
from deployments.domain.rate_limits import RateLimit
from deployments.store.generations.active import active_generation
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.memories.listing import count, list_statement
from deployments.store.memories.rate_limits import hit_one
from deployments.store.memories.superseded import undo_summary
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.postgres.rows import memory_of, version_of
from deployments.store.settings import FORGET_TIMEOUT_S
from deployments.store.sql import sql


class MemoryRepository:
    """Implements the Memories port."""

    def __init__(
        self,
        pool: Pool,
        lexicon: Lexicon,
        terms: TermsUpkeep,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._lexicon = lexicon
        self._terms = terms
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
    ) -> Memory | None:
        async with self._pool.acquire() as connection:
            await hit_one(connection, agent_id, rate_limit)
            row = await self._update(connection, agent_id, memory_id, patch, embedding, generation)
            if row is None:
                row = await connection.fetchrow(
                    *sql.get_memory(agent_id=agent_id, memory_id=memory_id)
                )
                if row is not None and row["superseded_by"] is not None:
                    raise Superseded(str(memory_id), str(row["superseded_by"]))
                if generation not in (None, await active_generation(connection)):
                    raise GenerationRetired
                return None
        self._count("update", 1)
        return memory_of(row)

    async def _update(
        self,
        connection: Connection,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
    ) -> Any:
        """Change the memory and return its row; None if it is missing or must not be changed."""
        lexicon, terms, keys = None, None, None
        if patch.content is not None or patch.expiry is not None:
            user_id = await connection.fetchval(
                *sql.user_of_shown(agent_id=agent_id, memory_id=memory_id)
            )
            if user_id is None:
                return None
        if patch.content is not None:
            lexicon = await self._terms.adopt(connection)
            indexed = self._lexicon.index(agent_id, user_id, patch.content)
            terms, keys = indexed.weights, indexed.keys
        expires_at = None if patch.expiry is None else patch.expiry.at
        update = sql.update_memory(
            agent_id=agent_id,
            memory_id=memory_id,
            content=patch.content,
            embedding=embedding,
            generation=generation,
            importance=patch.importance,
            memory_type=patch.memory_type,
            metadata=patch.metadata,
            lexicon=lexicon,
            terms=terms,
            term_keys=keys,
            sets_expiry=patch.expiry is not None,
            expires_at=expires_at,
        )
        if patch.expiry is None:
            return await connection.fetchrow(*update)
        async with connection.transaction():
            await connection.execute(*sql.lock_scope(agent_id=agent_id, user_id=user_id))
            row = await connection.fetchrow(*update)
            if row is not None:
                expiry = {"summary_id": memory_id, "expires_at": expires_at}
                await connection.execute(*sql.expire_sources(agent_id=agent_id, **expiry))
        return row

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

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        memory = {"agent_id": agent_id, "memory_id": memory_id}
        async with self._pool.acquire() as connection:
            user_id = await connection.fetchval(*sql.user_of_any(**memory))
            if user_id is None:
                return False
            async with connection.transaction():
                await connection.execute(*sql.lock_scope(agent_id=agent_id, user_id=user_id))
                deleted = await connection.fetchrow(*sql.delete_memory(**memory))
                summary_id = None if deleted is None else deleted["superseded_by"]
                if summary_id is not None:  # the summary contains the deleted memory's text
                    await undo_summary(connection, agent_id, summary_id, condensable=True)
        self._count("delete", 0 if deleted is None else 1)
        return deleted is not None

    async def forget(self, agent_id: str, user_id: str) -> int:
        scope = {"agent_id": agent_id, "user_id": user_id}
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(*sql.lock_scope(**scope))
            deleted = int(
                await connection.fetchval(*sql.forget_scope(**scope), timeout=FORGET_TIMEOUT_S)
            )
        self._count("delete", deleted)
        return deleted

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        async with self._pool.acquire() as connection:
            return await count(connection, agent_id, user_id, include_superseded)
