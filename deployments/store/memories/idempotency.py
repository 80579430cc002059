"""Writes under a key: made once, however often they are requested."""

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
    """Call `write` unless the key is used, and return its memories; otherwise return the first
    call's. The key and the memories are of one agent.

    Runs in one transaction, so that the key is stored if and only if the memories are. Raises
    KeyInUse while another call writes under the key, and KeyReused if the key was used for another
    write.
    """
    agent_id = memories[0].agent_id
    async with connection.transaction():
        if not await connection.fetchval(*sql.try_idempotency_key(agent_id=agent_id, key=key.key)):
            raise KeyInUse(key.key)
        key_row = await connection.fetchrow(*sql.idempotency_key(agent_id=agent_id, key=key.key))
        if key_row is not None:
            if key_row["fingerprint"] != key.fingerprint:
                raise KeyReused(key.key)
            return _first_answer(memories, key_row)
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


def _first_answer(memories: Sequence[NewMemory], key_row: Any) -> list[Memory]:
    """The first call's answer: ids and times from the key's row, the other fields from `memories`,
    because both requests have the same fingerprint."""
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
            updated_at=key_row["stored_at"],
            expires_at=expires_at,
        )
        for memory, id_, created_at, expires_at in zip(
            memories, key_row["ids"], key_row["created_at"], key_row["expires_at"], strict=True
        )
    ]
