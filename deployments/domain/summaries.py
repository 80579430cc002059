"""What condensing memories is about: sources, and the one memory that is made of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import NewMemory


@dataclass(frozen=True, slots=True)
class Source:
    """A memory that may be condensed. `embedding` is `(D,) float32`, of the generation in use."""

    id: UUID
    content: str
    embedding: Embeddings
    importance: float
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ScopeToCondense:
    """A scope that has what may be condensed; `is_due` where that is more than the threshold."""

    agent_id: str
    user_id: str
    is_due: bool


@dataclass(frozen=True, slots=True)
class Condensation:
    """A summary to store and its sources to hide, all or nothing. `embedding` is `(D,) float32`."""

    summary: NewMemory
    embedding: Embeddings
    generation: int
    sources: list[tuple[UUID, datetime]]
    """Each with when it was last changed: one that has changed since is not what was condensed."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass over the scopes did."""

    scopes: int
    """Those that were due."""
    summaries: int
    memories: int
    """How many were condensed."""
    failed: int
    """Scopes that will be tried again later."""
    is_complete: bool
    """False where its time was up before every scope had been looked at: call again."""
