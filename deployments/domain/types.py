"""What the graph's nodes say to each other: plain values, no behaviour beyond their own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deployments.domain.travelling import travels

Embeddings = NDArray[np.float32]
"""`(N, D) float32`, L2-normalised rows, unless said otherwise."""

TextKind = Literal["query", "passage"]
"""Some models put another prefix before a question than before a stored text."""

TextsOfKind = tuple[Sequence[str], TextKind]
"""What one caller has embedded, as it travels with others."""

Operation = Literal["write", "search"]
"""What the rate limit counts, each on its own."""

SearchMode = Literal["hybrid", "semantic", "lexical"]
"""Whether similarity is of meaning and words, of meaning alone, or of words alone."""

Fusion = Literal["weighted", "rrf"]
"""How hybrid similarity is made of both: as a weighted sum, or by reciprocal ranks."""


class MemoryType(StrEnum):
    """What a memory holds: something that happened, a fact, or how to do something."""

    EPISODIC = "episodic"
    SEMANTIC = "semantic"
    PROCEDURAL = "procedural"


@travels
@dataclass(frozen=True, slots=True)
class ScoreWeights:
    """`score = similarity·similarity + recency·recency + importance·importance` and
    `similarity = cosine·cosine + lexical·lexical`, each time the weight by its part.

    The last two are None where ranks were fused.
    """

    similarity: float
    recency: float
    importance: float
    cosine: float | None
    lexical: float | None


@travels
@dataclass(frozen=True, slots=True)
class Explanation:
    """The parts of a hit's score, each by its weight adding up to it."""

    cosine: float
    lexical: float
    """BM25 divided by the best BM25 among the query's candidates, in [0, 1]."""
    similarity: float
    recency: float
    importance: float
    """Half of the memory's importance, in [0, 1]."""
    age_days: float
    weights: ScoreWeights
    matched_terms: list[str]
    """The query's terms that the memory has, stemmed and case-folded as they are compared."""
    cosine_rank: int | None = None
    """Among the candidates; only where ranks were fused, like the next."""
    lexical_rank: int | None = None


@travels
@dataclass(frozen=True, slots=True)
class Memory:
    """A stored memory; `score` (higher is better, 4 decimals) is set by a search alone, and
    `explanation` by a search that asks for it."""

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
    """When it is over; None: never."""
    superseded_by: UUID | None = None
    """The summary that it was condensed into. Such a memory is hidden from what does not ask for
    it."""
    score: float | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """What a memory said before it was changed. The first is number 1."""

    version: int
    content: str
    importance: float
    memory_type: MemoryType
    metadata: dict[str, Any]
    expires_at: datetime | None
    written_at: datetime
    replaced_at: datetime


@travels
@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to store. Its id is made by the caller, so that storing it twice is harmless."""

    id: UUID
    agent_id: str
    user_id: str
    content: str
    importance: float = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    expires_at: datetime | None = None
    updated_at: datetime | None = None
    """None is now, like `created_at`."""
    superseded_by: UUID | None = None
    """Of imports alone."""


class Imported(StrEnum):
    """What became of a memory that came with an id of its own."""

    STORED = "stored"
    THERE = "there"
    """The agent has one of that id, which was left as it is."""
    TAKEN = "taken"
    """Another agent has one of that id."""
    ORPHANED = "orphaned"
    """It is said to be condensed into a memory that the agent does not have."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a memory is to be over; None: never."""

    at: datetime | None


@dataclass(frozen=True, slots=True)
class MemoryPatch:
    """The fields to change; `None` leaves a field as it is."""

    content: str | None = None
    importance: float | None = None
    memory_type: MemoryType | None = None
    metadata: dict[str, Any] | None = None
    expiry: Expiry | None = None


@travels
@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights of the score; ranking.py has the formula."""

    alpha: float = 0.7
    half_life_days: float = 30.0
    importance_weight: float = 0.0
    mode: SearchMode = "hybrid"
    fusion: Fusion = "weighted"
    """Of hybrid mode, like the next."""
    lexical_weight: float | None = None
    """None is the store's setting."""


@travels
@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What a hit must satisfy beside its scope; `None` is no condition."""

    memory_type: MemoryType | None = None
    metadata: dict[str, Any] | None = None
    """Contained in the hit's metadata (Postgres's `@>`)."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class ListFilters:
    """What a listed memory must satisfy beside its scope and type; `None` is no condition."""

    metadata: dict[str, Any] | None = None
    """Contained in the memory's metadata (Postgres's `@>`)."""
    created_after: datetime | None = None
    created_before: datetime | None = None


@travels
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
    """The time ages are counted to; later memories are not seen. None is now, and sees all."""
    explain: bool = False
    include_superseded: bool = False


@travels
@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `per_minute` calls of `operation` in any 60 s, for one agent. 0 is no limit."""

    operation: Operation
    per_minute: int


@travels
@dataclass(frozen=True, slots=True)
class SearchCall:
    """One call to search, as it travels with others. `embedding` is `(D,) float32`."""

    query: SearchQuery
    embedding: Embeddings
    generation: int
    limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class WriteKey:
    """By which a write is known when it is asked for again; the fingerprint is of what it says."""

    key: str
    fingerprint: bytes


@travels
@dataclass(frozen=True, slots=True)
class InsertCall:
    """One call to insert, as it travels with others: a row of `embeddings` for each memory."""

    memories: Sequence[NewMemory]
    embeddings: Embeddings
    generation: int
    limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class PageKey:
    """Where a newest-first listing goes on: behind the row of this time and id."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, newest first; `next_key` is None on the last."""

    memories: list[Memory]
    next_key: PageKey | None


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some of an export's memories; `total` is how many all its pages have."""

    total: int
    memories: list[Memory]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made an embedding. Vectors of two identities are never compared."""

    name: str
    revision: str
    precision: str
    dimensions: int

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.precision}, {self.dimensions} dimensions, "
            f"revision {self.revision[:12]})"
        )
