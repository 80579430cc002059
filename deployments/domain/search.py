"""Searches: what a caller asks for, and in which scope."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import MemoryType
from deployments.domain.pickling import pickle_by_fields
from deployments.domain.ranking import Ranking
from deployments.domain.rate_limits import RateLimit


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What a hit must satisfy beside its scope; `None` is no condition."""

    memory_type: MemoryType | None = None
    metadata: dict[str, Any] | None = None
    """Contained in the hit's metadata (Postgres's `@>`)."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    min_score: float | None = None


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search of one scope (agent, user) for at most `top_k` hits."""

    agent_id: str
    user_id: str
    text: str
    top_k: int = 10
    ranking: Ranking = Ranking()
    filters: SearchFilters = SearchFilters()
    as_of: datetime | None = None
    """Ages are counted up to this time, and memories created later are not seen. None: ages are
    counted up to now, and all memories are seen."""
    explain: bool = False
    include_superseded: bool = False


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class SearchCall:
    """One caller's search in a call that carries several. `embedding` is `(D,) float32`."""

    query: SearchQuery
    embedding: Embeddings
    generation: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class Deferred:
    """In place of a search's hits: it would keep the other searches of its call waiting. Its rate
    limit has been counted; make it again on its own, without one."""
