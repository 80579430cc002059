"""Write keys: what a write under a key stored or changed, so that its repetition is answered alike.

A repeated insert is answered from the ids and times that are kept, and from the request itself. A
repeated change is answered from its kept answer, which goes when its memory is deleted or its scope
forgotten, and after 24 hours at the latest.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from deployments.domain.errors import DeletedSince, KeyInUse, KeyReused
from deployments.domain.memories import Memory, MemoryType, NewMemory, WriteKey
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql


async def used_key(connection: Connection, agent_id: str, key: WriteKey) -> Any:
    """The row of the write that was made under the key in the last 24 hours, or None. Raises
    KeyReused if it was another write."""
    key_row = await connection.fetchrow(*sql.idempotency_key(agent_id=agent_id, key=key.key))
    if key_row is not None and key_row["fingerprint"] != key.fingerprint:
        raise KeyReused(key.key)
    return key_row


async def claim_key(connection: Connection, agent_id: str, key: WriteKey) -> Any:
    """As `used_key`, in a transaction, which then is the only one that writes under the key. Raises
    KeyInUse if another one is."""
    if not await connection.fetchval(*sql.try_idempotency_key(agent_id=agent_id, key=key.key)):
        raise KeyInUse(key.key)
    return await used_key(connection, agent_id, key)


async def keep_insert(
    connection: Connection, agent_id: str, key: WriteKey, stored: Sequence[Memory]
) -> None:
    await connection.execute(
        *sql.add_idempotency_key(
            agent_id=agent_id,
            key=key.key,
            fingerprint=key.fingerprint,
            ids=[memory.id for memory in stored],
            created_at=[memory.created_at for memory in stored],
            expires_at=[memory.expires_at for memory in stored],
            stored_at=stored[0].updated_at,
            answer=None,
        )
    )


async def first_insert(
    connection: Connection, memories: Sequence[NewMemory], key_row: Any
) -> list[Memory]:
    """The first answer. `memories` are those of the repetition, which has the same fingerprint."""
    metadata = await connection.fetchval(
        *sql.as_stored(metadata=[memory.metadata for memory in memories])
    )
    return [
        Memory(
            id=UUID(int=id_.int),
            agent_id=memory.agent_id,
            user_id=memory.user_id,
            content=memory.content,
            importance=memory.importance,
            memory_type=memory.memory_type,
            metadata=as_stored,
            created_at=created_at,
            updated_at=key_row["stored_at"],
            expires_at=expires_at,
        )
        for memory, as_stored, id_, created_at, expires_at in zip(
            memories,
            metadata,
            key_row["ids"],
            key_row["created_at"],
            key_row["expires_at"],
            strict=True,
        )
    ]


async def keep_change(
    connection: Connection, agent_id: str, key: WriteKey, changed: Memory
) -> None:
    await _keep(connection, agent_id, key, [changed.id], _as_json(changed))


def first_change(agent_id: str, key_row: Any) -> Memory:
    """The first answer. Raises DeletedSince if the memory has been deleted since."""
    (memory_id,) = key_row["ids"]
    if key_row["answer"] is None:
        raise DeletedSince(str(memory_id))
    return _from_json(UUID(int=memory_id.int), agent_id, key_row["answer"])


async def keep_deletion(
    connection: Connection, agent_id: str, key: WriteKey, deleted: int | None = None
) -> None:
    """`deleted`: how many memories, if they were a scope."""
    await _keep(connection, agent_id, key, [], deleted)


async def _keep(
    connection: Connection, agent_id: str, key: WriteKey, ids: Sequence[UUID], answer: Any
) -> None:
    await connection.execute(
        *sql.add_idempotency_key(
            agent_id=agent_id,
            key=key.key,
            fingerprint=key.fingerprint,
            ids=ids,
            created_at=[],
            expires_at=[],
            stored_at=None,
            answer=answer,
        )
    )


def _as_json(memory: Memory) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(memory).items()
        if name not in ("id", "agent_id", "superseded_by", "score", "explanation")
    }


def _from_json(memory_id: UUID, agent_id: str, answer: dict[str, Any]) -> Memory:
    expires_at = answer["expires_at"]
    return Memory(
        id=memory_id,
        agent_id=agent_id,
        user_id=answer["user_id"],
        content=answer["content"],
        importance=float(answer["importance"]),
        memory_type=MemoryType(answer["memory_type"]),
        metadata=answer["metadata"],
        created_at=datetime.fromisoformat(answer["created_at"]),
        updated_at=datetime.fromisoformat(answer["updated_at"]),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )
