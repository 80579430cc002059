"""A search on its way to a statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgvector import SparseVector, Vector

from deployments.domain.ranking import fuses_by_rank
from deployments.domain.types import SearchCall
from deployments.store.lexicon import QueryTerms


@dataclass(frozen=True, slots=True)
class Prepared:
    """A search, and what had to be read before its statement could be chosen."""

    call: SearchCall
    weights: SparseVector
    share: float
    """Of words in the similarity; 0 also where no memory of the scope has any of the words."""
    terms: QueryTerms
    frequencies: Mapping[int, int]
    """Of the terms: how many of the scope's memories have each, by its key."""
    rows: int
    """Of the scope in the time that is asked for, counted to one more than are scored whole."""
    scope_rows: int
    """All that have words."""
    is_large: bool
    """Whether there are more rows than are scored whole."""

    @property
    def fuses_by_rank(self) -> bool:
        return fuses_by_rank(self.call.query.ranking) and self.share > 0

    def rarest(self, most_memories: int, most_of_one: int) -> list[int]:
        """The keys of the rarest terms; see `QueryTerms`."""
        return self.terms.rarest(self.frequencies, most_memories, most_of_one)

    @property
    def statement(self) -> str:
        """The name of the one that answers it, unless it is large."""
        if self.call.query.include_superseded:
            return "search_with_superseded"
        return "search_each_by_rank" if self.fuses_by_rank else "search_each_weighted"

    @property
    def values(self) -> tuple[Any, ...]:
        """The parameters that all search statements share, in their order."""
        query, filters = self.call.query, self.call.query.filters
        return (
            query.agent_id,
            query.user_id,
            Vector(self.call.embedding),  # asyncpg takes arrays apart
            self.call.generation,
            query.top_k,
            query.ranking.alpha,
            query.ranking.half_life_days,
            query.ranking.importance_weight,
            filters.memory_type,
            filters.metadata,
            filters.created_after,
            filters.created_before,
            filters.min_score,
            query.as_of,
            self.weights,
            self.share,
        )
