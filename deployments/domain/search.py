"""Searches: the query, its scope and its filters."""

from dataclasses import dataclass
from datetime import datetime

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import MemoryType
from deployments.domain.metadata_filters import MetadataTest
from deployments.domain.pickling import pickle_by_fields
from deployments.domain.ranking import Ranking
from deployments.domain.rate_limits import RateLimit
from deployments.domain.searching.pages import DEFAULT_DIVERSITY


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class SearchFilters:
    """Conditions on the hits, besides their scope; `None` is no condition."""

    memory_type: MemoryType | None = None
    metadata: MetadataTest | None = None
    """The hit's metadata must pass this test."""
    created_after: datetime | None = None
    """The window is half-open: hits were created at `created_after` or later, and before
    `created_before`."""
    created_before: datetime | None = None
    min_score: float | None = None
    min_similarity: float | None = None
    """The hit must be related to the query by meaning or by words: its cosine, or its BM25 divided
    by the query's (the sum of idf · count over all of the query's terms), is at least this."""


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
    """The scope is searched as it was at this time, and ages are measured at it. A time in the
    future changes ages only; None is now."""
    explain: bool = False
    include_superseded: bool = False
    diversity: float = DEFAULT_DIVERSITY
    """How much near-copies are kept from the page: 0 (not at all) to 1. See searching/pages.py."""
    chunks: tuple[str, ...] = ()
    """The chunks of a long text, which are searched instead of the text as a whole."""

    @property
    def avoids_copies(self) -> bool:
        """Whether near-copies may make a difference."""
        return self.diversity > 0 and self.top_k > 1


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class SearchCall:
    """One caller's search, in a call for several callers. `embedding` is `(D,) float32`; with
    chunks `(C, D)`, a row for each."""

    query: SearchQuery
    embedding: Embeddings
    generation: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class Deferred:
    """Returned in place of a search's hits if it would make the other searches of its call wait.
    Its rate limit has been counted; repeat the search in its own call, without a rate limit."""
