"""Memories and versions from database rows."""

from typing import Any
from uuid import UUID

from deployments.domain.memories import Memory, MemoryType, MemoryVersion
from deployments.domain.ranking import Explanation


def version_of(row: Any) -> MemoryVersion:
    return MemoryVersion(
        version=row["version"],
        content=row["content"],
        importance=row["importance"],
        memory_type=MemoryType(row["memory_type"]),
        metadata=row["metadata"],
        expires_at=row["expires_at"],
        written_at=row["written_at"],
        replaced_at=row["replaced_at"],
    )


def memory_of(
    row: Any, score: float | None = None, explanation: Explanation | None = None
) -> Memory:
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
        expires_at=row["expires_at"],
        superseded_by=None if row["superseded_by"] is None else UUID(int=row["superseded_by"].int),
        score=score,
        explanation=explanation,
    )
