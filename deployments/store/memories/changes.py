"""Changes and deletions of stored memories over a given connection, which may be in a
transaction."""

from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.errors import GenerationRetired, Superseded
from deployments.domain.memories import Memory, MemoryPatch
from deployments.store.generations.active import active_generation
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.memories.superseded import undo_summary
from deployments.store.postgres.pool import Connection
from deployments.store.postgres.rows import memory_of
from deployments.store.settings import FORGET_TIMEOUT_S
from deployments.store.sql import sql


class MemoryChanges:
    """What the Memories port describes, without rate limits."""

    def __init__(self, lexicon: Lexicon, terms: TermsUpkeep) -> None:
        self._lexicon = lexicon
        self._terms = terms

    async def update(
        self,
        connection: Connection,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        condition: Precondition | None,
    ) -> Memory | None:
        row = await self._update(
            connection, agent_id, memory_id, patch, embedding, generation, condition
        )
        if row is not None:
            return memory_of(row)
        row = await connection.fetchrow(*sql.get_memory(agent_id=agent_id, memory_id=memory_id))
        if row is not None and row["superseded_by"] is not None:
            raise Superseded(str(memory_id), str(row["superseded_by"]))
        if generation not in (None, await active_generation(connection)):
            raise GenerationRetired
        return None

    async def _update(
        self,
        connection: Connection,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        condition: Precondition | None,
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
        if patch.expiry is None and condition is None:
            return await connection.fetchrow(*update)
        async with connection.transaction():
            if patch.expiry is not None:
                await connection.execute(*sql.lock_scope(agent_id=agent_id, user_id=user_id))
            if condition is not None:
                memory = await _lock(connection, agent_id, memory_id)
                if memory is None or memory.superseded_by is not None:
                    return None
                condition.check(memory)
            row = await connection.fetchrow(*update)
            if row is not None and patch.expiry is not None:
                expiry = {"summary_id": memory_id, "expires_at": expires_at}
                await connection.execute(*sql.expire_sources(agent_id=agent_id, **expiry))
        return row

    async def delete(
        self,
        connection: Connection,
        agent_id: str,
        memory_id: UUID,
        condition: Precondition | None,
    ) -> bool:
        memory = {"agent_id": agent_id, "memory_id": memory_id}
        user_id = await connection.fetchval(*sql.user_of_any(**memory))
        if user_id is None:
            await connection.execute(*sql.drop_kept_answers_of_memory(**memory))
            if condition is not None:  # no read answers with an expired memory's tag
                return False
            return bool(await connection.fetchval(*sql.erase_expired(**memory)))
        async with connection.transaction():
            await connection.execute(*sql.lock_scope(agent_id=agent_id, user_id=user_id))
            if condition is not None:
                locked = await _lock(connection, agent_id, memory_id)
                if locked is None:
                    return False
                condition.check(locked)
            deleted = await connection.fetchrow(*sql.delete_memory(**memory))
            summary_id = None if deleted is None else deleted["superseded_by"]
            if summary_id is not None:  # the summary contains the deleted memory's text
                await undo_summary(connection, agent_id, summary_id, condensable=True)
        return deleted is not None

    async def forget(self, connection: Connection, agent_id: str, user_id: str) -> int:
        scope = {"agent_id": agent_id, "user_id": user_id}
        async with connection.transaction():
            await connection.execute(*sql.lock_scope(**scope))
            deleted = await connection.fetchval(
                *sql.forget_scope(**scope), timeout=FORGET_TIMEOUT_S
            )
            await connection.execute(
                *sql.drop_kept_answers_of_user(**scope), timeout=FORGET_TIMEOUT_S
            )
        return int(deleted)


async def _lock(connection: Connection, agent_id: str, memory_id: UUID) -> Memory | None:
    """The memory as it is now, locked until the end of the transaction."""
    row = await connection.fetchrow(*sql.lock_memory(agent_id=agent_id, memory_id=memory_id))
    return None if row is None else memory_of(row)
