"""Memories as they are stored, changed, listed, exported and imported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.pickling import pickle_by_fields
from deployments.domain.ranking import Explanation
from deployments.domain.rate_limits import RateLimit


class MemoryType(StrEnum):
    """What a memory holds: something that happened, a fact, or how to do something."""

    EPISODIC = "episodic"
    SEMANTIC = "semantic"
    PROCEDURAL = "procedural"


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class Memory:
    """A stored memory. Only a search sets `score` (higher is better, 4 decimals), and only a search
    with `explain` sets `explanation`."""

    id: UUID
    agent_id: str
    user_id: str
    content: str
    importance: float
    memory_type: MemoryType
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    """From then on nobody sees it; None: it never expires."""
    superseded_by: UUID | None = None
    """The summary it was condensed into. Such a memory is hidden from callers that do not ask for
    superseded ones."""
    score: float | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """A memory as it was before a change. Version 1 is the first."""

    version: int
    content: str
    importance: float
    memory_type: MemoryType
    metadata: dict[str, Any]
    expires_at: datetime | None
    written_at: datetime
    replaced_at: datetime


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to store. The caller makes its id, so that storing it twice is harmless."""

    id: UUID
    agent_id: str
    user_id: str
    content: str
    importance: float = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    """None: now, as for `updated_at`."""
    expires_at: datetime | None = None
    updated_at: datetime | None = None
    superseded_by: UUID | None = None
    """Set by imports only."""


class Imported(StrEnum):
    """What became of a memory that an import brought with its id."""

    STORED = "stored"
    THERE = "there"
    """The agent already has a memory of that id; it was left unchanged."""
    TAKEN = "taken"
    """Another agent has a memory of that id."""
    ORPHANED = "orphaned"
    """The summary it was condensed into is not among the agent's memories."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a memory expires; None: never."""

    at: datetime | None


@dataclass(frozen=True, slots=True)
class MemoryPatch:
    """The fields to change; `None` leaves a field unchanged."""

    content: str | None = None
    importance: float | None = None
    memory_type: MemoryType | None = None
    metadata: dict[str, Any] | None = None
    expiry: Expiry | None = None


@dataclass(frozen=True, slots=True)
class ListFilters:
    """What a listed memory must satisfy beside its scope; `None` is no condition."""

    memory_type: MemoryType | None = None
    metadata: dict[str, Any] | None = None
    """Contained in the memory's metadata (Postgres's `@>`)."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    include_superseded: bool = False


@dataclass(frozen=True, slots=True)
class WriteKey:
    """An idempotency key, and a fingerprint of what is written under it."""

    key: str
    fingerprint: bytes


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class InsertCall:
    """One caller's memories in a call that carries several; a row of `embeddings` for each."""

    memories: Sequence[NewMemory]
    embeddings: Embeddings
    generation: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class PageKey:
    """Where a newest-first listing continues: after the memory of this time and id."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, newest first; `next_key` is None on the last."""

    memories: list[Memory]
    next_key: PageKey | None


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some of an export's memories, and the total number over all its pages."""

    total: int
    memories: list[Memory]
