"""Condensing memories: sources, and the summary that is made from them."""

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
    """A scope with memories that may be condensed; `is_due` if they are more than the threshold."""

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
    """Each source's id and its `updated_at`, by which the store sees whether it changed since."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass over the scopes did."""

    scopes: int
    """Scopes that were due."""
    summaries: int
    memories: int
    """Memories that were condensed."""
    failed: int
    """Scopes that will be tried again later."""
    is_complete: bool
    """False if the time ran out before every scope was checked: call again."""
