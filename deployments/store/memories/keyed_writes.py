"""The repository of changes and deletions under a write key. Each is one transaction with its key,
so that the key is used if and only if the write is made."""

from collections.abc import Callable
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.memories import Memory, MemoryPatch, WriteKey
from deployments.domain.rate_limits import RateLimit
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.memories.changes import MemoryChanges
from deployments.store.memories.idempotency import (
    claim_key,
    first_change,
    keep_change,
    keep_deletion,
    used_key,
)
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.postgres.pool import Pool


class KeyedWriteRepository:
    """Implements the KeyedWrites port."""

    def __init__(
        self,
        pool: Pool,
        changes: MemoryChanges,
        terms: TermsUpkeep,
        rate_limits: RateLimits,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._terms = terms
        self._rate_limits = rate_limits
        self._count = count

    async def update_once(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        rate_limit: RateLimit | None,
        key: WriteKey,
        condition: Precondition | None = None,
    ) -> Memory | None:
        async with self._pool.acquire() as connection:
            # In its own transaction, so that a rollback of the change does not undo it.
            await self._terms.adopt(connection)
            async with connection.transaction():
                key_row = await claim_key(connection, agent_id, key)
                if key_row is not None:
                    return first_change(agent_id, key_row)
                await self._rate_limits.hit_one(connection, agent_id, rate_limit)
                memory = await self._changes.update(
                    connection, agent_id, memory_id, patch, embedding, generation, condition
                )
                if memory is not None:
                    await keep_change(connection, agent_id, key, memory)
        self._count("update", 0 if memory is None else 1)
        return memory

    async def first_update(self, agent_id: str, key: WriteKey) -> Memory | None:
        async with self._pool.acquire() as connection:
            key_row = await used_key(connection, agent_id, key)
        return None if key_row is None else first_change(agent_id, key_row)

    async def delete_once(
        self,
        agent_id: str,
        memory_id: UUID,
        key: WriteKey,
        condition: Precondition | None = None,
    ) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            if await claim_key(connection, agent_id, key) is not None:
                return True
            is_deleted = await self._changes.delete(connection, agent_id, memory_id, condition)
            if is_deleted:
                await keep_deletion(connection, agent_id, key)
        self._count("delete", int(is_deleted))
        return is_deleted

    async def forget_once(self, agent_id: str, user_id: str, key: WriteKey) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            key_row = await claim_key(connection, agent_id, key)
            if key_row is not None:
                return int(key_row["answer"])
            deleted = await self._changes.forget(connection, agent_id, user_id)
            await keep_deletion(connection, agent_id, key, deleted)
        self._count("delete", deleted)
        return deleted
