"""Memories as they are stored, changed, listed, exported and imported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.metadata_filters import MetadataTest
from deployments.domain.pickling import pickle_by_fields
from deployments.domain.ranking import Explanation
from deployments.domain.rate_limits import RateLimit


class MemoryType(StrEnum):
    """What a memory describes: something that happened, a fact, or how to do something."""

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
    """From this time on, no call returns the memory; None means that it never expires."""
    superseded_by: UUID | None = None
    """The summary that the memory was condensed into. Calls that do not include superseded memories
    do not return it."""
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
    """A memory to store. The caller makes its id, so storing it twice is harmless."""

    id: UUID
    agent_id: str
    user_id: str
    content: str
    importance: float = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    """None means now; so does an `updated_at` of None."""
    expires_at: datetime | None = None
    updated_at: datetime | None = None
    superseded_by: UUID | None = None
    """Set by imports only."""


class ImportOutcome(StrEnum):
    """What an import did with one memory, which has its id already."""

    STORED = "stored"
    EXISTS = "exists"
    """The agent already has a memory with this id; it was left unchanged."""
    TAKEN = "taken"
    """Another agent has a memory with this id."""
    ORPHANED = "orphaned"
    """The agent does not have the summary that the memory was condensed into."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a memory expires; None means never."""

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
    """Conditions on the listed memories, besides their scope; `None` is no condition."""

    memory_type: MemoryType | None = None
    metadata: MetadataTest | None = None
    """The memory's metadata must pass this test."""
    created_after: datetime | None = None
    """The window is half-open: memories were created at `created_after` or later, and before
    `created_before`."""
    created_before: datetime | None = None
    include_superseded: bool = False


@dataclass(frozen=True, slots=True)
class WriteKey:
    """An idempotency key, and a fingerprint of the write that uses it."""

    key: str
    fingerprint: bytes


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class InsertCall:
    """One caller's memories, in a call for several callers. `embeddings` is `(N, D) float32`, a row
    for each memory."""

    memories: Sequence[NewMemory]
    embeddings: Embeddings
    generation: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class PageKey:
    """A newest-first list continues after the memory with this time and id."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, newest first; `next_key` is None on the last page."""

    memories: list[Memory]
    next_key: PageKey | None


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some of an export's memories, and the number of memories on all its pages."""

    total: int
    memories: list[Memory]
