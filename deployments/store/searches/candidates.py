"""How many candidates of each kind a search of a large scope reads.

A scope that is not scored whole is searched for candidates of several kinds, because one kind finds
what another misses. The cost of a kind depends on how many memories are skipped for each candidate:
a vector index entry takes about ten times as long as a row in the order of time. The statement
reads fewer of the newest if the other candidates show that older memories cannot be hits.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from deployments.domain.search import SearchQuery
from deployments.store.searches.tuning import SearchTuning


@dataclass(frozen=True, slots=True)
class Population:
    """How many memories a search could find; usually the planner's estimates."""

    indexed: int
    """Memories of all scopes in the vector index."""
    in_time: int
    """Memories of the scope in the requested span of time."""
    matching: int
    """Memories in this span that pass the other filters."""
    recent: int = 0
    """Memories in this span since `recent_since`; 0 if that is None."""

    @property
    def matching_share(self) -> float:
        """The share of the memories in the span that pass the other filters."""
        return _share(self.matching, self.in_time)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The number of nearest memories to read, and the most newest ones."""

    nearest: int
    newest: int

    @classmethod
    def of(
        cls,
        query: SearchQuery,
        population: Population,
        tuning: SearchTuning,
        *,
        max_nearest: int,
        counts_words: bool,
    ) -> Self:
        """Choose both numbers, at least the query's top_k each. The nearest are usually as many
        matching memories as the first `max_nearest` vector index entries hold, and more for many
        hits. `counts_words`: whether similarity has a lexical part."""
        is_selective = (
            query.filters.metadata is not None
            and population.matching_share < tuning.selective_share
        )
        since = recent_since(query, tuning)
        depth = _depth(query, tuning)
        limit = depth * max_nearest
        entries = limit * (tuning.nearest_factor_if_selective if is_selective else 1)
        if since is None:
            limit *= tuning.nearest_share_without_age
        expected = entries * _share(population.matching, population.indexed)
        nearest = max(tuning.min_nearest, min(limit, expected))
        newest = 0.0
        if query.ranking.alpha < 1 or counts_words:
            newest = depth * _newest(since, population, is_selective, tuning)
        return cls(max(query.top_k, round(nearest)), max(query.top_k, round(newest)))


def max_likely(query: SearchQuery, tuning: SearchTuning) -> int:
    """How many of the memories with sketches are scored."""
    counts_age = query.ranking.alpha == 0 or recent_since(query, tuning) is not None
    limit = tuning.max_likely if counts_age else tuning.max_likely_without_age
    return max(query.top_k, round(limit * _depth(query, tuning)))


def _depth(query: SearchQuery, tuning: SearchTuning) -> float:
    """By which to multiply the numbers of candidates; 1 for up to `base_top_k` hits."""
    return math.sqrt(max(1, query.top_k / tuning.base_top_k))


def _newest(
    since: datetime | None, population: Population, is_selective: bool, tuning: SearchTuning
) -> int:
    newest = tuning.max_newest
    if since is not None:
        recent = round(
            tuning.newest_share_of_recent * population.recent * population.matching_share
        )
        newest = min(newest, max(tuning.min_newest, recent))
    if is_selective:
        expected = round(tuning.max_newest_rows_if_selective * population.matching_share)
        newest = min(newest, max(tuning.min_newest_if_selective, expected))
    return newest


def _share(part: int, whole: int) -> float:
    return part / max(1, part, whole)


def recent_since(query: SearchQuery, tuning: SearchTuning) -> datetime | None:
    """The time since which memories are recent; None if age makes no difference, or if only age
    counts."""
    alpha = query.ranking.alpha
    if alpha in (0.0, 1.0):
        return None
    half_lives = min(tuning.max_half_lives, max(tuning.min_half_lives, alpha / (1 - alpha)))
    days = half_lives * query.ranking.half_life_days
    now = query.as_of or datetime.now(UTC)
    if days > tuning.max_recent_days or now.year <= 1 + days / 365:
        return None
    return now - timedelta(days=days)
