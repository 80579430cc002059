"""Writes under a key: made once, however often they are asked for."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from deployments.domain.errors import KeyInUse, KeyReused
from deployments.domain.memories import Memory, NewMemory, WriteKey
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql


async def write_once(
    connection: Connection,
    key: WriteKey,
    memories: Sequence[NewMemory],
    write: Callable[[], Awaitable[list[Memory]]],
) -> list[Memory]:
    """What `write` returns, or what it returned the first time. Key and memories are one agent's.

    In one transaction, so that the key is stored if and only if the memories are. Raises KeyInUse
    while another call writes under the key, and KeyReused if it was used for another write.
    """
    agent_id = memories[0].agent_id
    async with connection.transaction():
        if not await connection.fetchval(*sql.try_idempotency_key(agent_id=agent_id, key=key.key)):
            raise KeyInUse(key.key)
        first = await connection.fetchrow(*sql.idempotency_key(agent_id=agent_id, key=key.key))
        if first is not None:
            if first["fingerprint"] != key.fingerprint:
                raise KeyReused(key.key)
            return _first_answer(memories, first)
        stored = await write()
        await connection.execute(
            *sql.add_idempotency_key(
                agent_id=agent_id,
                key=key.key,
                fingerprint=key.fingerprint,
                ids=[memory.id for memory in stored],
                created_at=[memory.created_at for memory in stored],
                expires_at=[memory.expires_at for memory in stored],
                stored_at=stored[0].updated_at,
            )
        )
        return stored


def _first_answer(memories: Sequence[NewMemory], first: Any) -> list[Memory]:
    """The first answer: its ids and times, and the fields that both requests have alike."""
    return [
        Memory(
            id=UUID(int=id_.int),
            agent_id=memory.agent_id,
            user_id=memory.user_id,
            content=memory.content,
            importance=memory.importance,
            memory_type=memory.memory_type,
            metadata=memory.metadata,
            created_at=created_at,
            updated_at=first["stored_at"],
            expires_at=expires_at,
        )
        for memory, id_, created_at, expires_at in zip(
            memories, first["ids"], first["created_at"], first["expires_at"], strict=True
        )
    ]
