"""A search with everything that its statement depends on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgvector import SparseVector, Vector

from deployments.domain.ranking import fuses_by_rank
from deployments.domain.search import SearchCall
from deployments.store.lexical.lexicon import QueryTerms
from deployments.store.postgres.jsonpath import to_jsonpath


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A search, and the frequencies and sizes by which its statement is chosen."""

    call: SearchCall
    weights: SparseVector
    lexical_share: float
    """The lexical share of similarity, in [0, 1]; 0 also if no memory of the scope has any of the
    terms."""
    terms: QueryTerms
    frequencies: Mapping[int, int]
    """How many of the scope's memories have each of the terms, by its key."""
    rows: int
    """Memories of the scope in the requested span of time, counted up to `exact_search_rows`
    + 1."""
    scope_rows: int
    """All memories of the scope whose terms are indexed."""
    is_large: bool
    """Whether `rows` is more than `exact_search_rows`."""
    has_changed: bool
    """Whether the scope has changed since the query's `as_of`."""
    limit: int
    """How many candidates the statement returns: the query's top_k or more, to choose from."""

    def deeper(self, limit: int) -> "Prepared":
        """The same search for `limit` candidates. A large scope is searched as for so many hits."""
        query = replace(self.call.query, top_k=limit)
        return replace(self, call=replace(self.call, query=query), limit=limit)

    @property
    def min_bm25(self) -> float | None:
        """The least BM25 of a memory that is related by words."""
        min_similarity = self.call.query.filters.min_similarity
        if min_similarity is None:
            return None
        total = self.terms.total_weight(self.frequencies)
        return min_similarity * total if total > 0 else math.inf

    @property
    def fuses_by_rank(self) -> bool:
        return fuses_by_rank(self.call.query.ranking) and self.lexical_share > 0

    def rare_keys(self, *, max_memories: int, max_of_rarest: int) -> list[int]:
        """The keys of the rarest terms; see `QueryTerms.rarest`."""
        return self.terms.rarest(self.frequencies, max_memories, max_of_rarest)

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of every search statement."""
        query, filters = self.call.query, self.call.query.filters
        return {
            "agent_id": query.agent_id,
            "user_id": query.user_id,
            "embedding": Vector(self.call.embedding),  # asyncpg splits arrays
            "generation": self.call.generation,
            "top_k": self.limit,
            "alpha": query.ranking.alpha,
            "half_life_days": query.ranking.half_life_days,
            "importance_weight": query.ranking.importance_weight,
            "memory_type": filters.memory_type,
            "metadata": to_jsonpath(filters.metadata),
            "created_after": filters.created_after,
            "created_before": filters.created_before,
            "min_score": filters.min_score,
            "as_of": query.as_of,
            "terms": self.weights,
            "lexical_share": self.lexical_share,
            "min_cosine": filters.min_similarity,
            "min_bm25": self.min_bm25,
            "with_embedding": query.avoids_copies,
        }

    @property
    def values_of_one(self) -> dict[str, Any]:
        """The parameters of every statement that makes a single search."""
        return {**self.values, "by_rank": self.fuses_by_rank}
