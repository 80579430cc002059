"""Response bodies."""

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from deployments.domain.memories import Memory, MemoryVersion


@dataclass(frozen=True, slots=True)
class DeletedMemory:
    """Answers a change that is repeated under its key after the memory was deleted."""

    id: UUID
    deleted: Literal[True] = True


@dataclass(frozen=True, slots=True)
class MemoriesOut:
    memories: list[Memory]


@dataclass(frozen=True, slots=True)
class HistoryOut:
    versions: list[MemoryVersion]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class BatchOut:
    memories: list[Memory]


@dataclass(frozen=True, slots=True)
class SearchOut:
    results: list[Memory]
    query: str
    total: int
    reranked: Annotated[
        bool | None,
        Field(
            description="True if a reranker reordered the results, false if it was late or "
            "unavailable or the query is long, null if none is configured."
        ),
    ]


@dataclass(frozen=True, slots=True)
class PageOut:
    memories: list[Memory]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CountOut:
    agent_id: str
    user_id: str | None
    count: int


@dataclass(frozen=True, slots=True)
class DeletedOut:
    deleted: int


@dataclass(frozen=True, slots=True)
class HealthOut:
    status: Literal["ok", "degraded"]
    db: Literal["ok", "down"]
    embedder: Literal["ok", "down"]
    version: str


@dataclass(frozen=True, slots=True)
class StatusOut:
    status: Literal["ok", "degraded"]
