"""How many candidates of each kind a search of a large scope reads.

A scope that is not scored whole is searched from several sides, and what one of them would miss
another finds. The cost of each depends on how many memories have to be passed over for one that is
wanted: an entry of the index of vectors takes some ten times as long as a row in the order of time.
Of the newest, the statement reads fewer if the other candidates show that older ones cannot be
hits.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from deployments.domain.search import SearchQuery
from deployments.store.searches.tuning import SearchTuning


@dataclass(frozen=True, slots=True)
class Population:
    """How many memories a search could find; mostly the planner's guesses."""

    indexed: int
    """In the index of vectors, of all scopes."""
    in_time: int
    """Of the scope, in the span of time that is asked for."""
    matching: int
    """Of those, that pass the other filters."""
    recent: int = 0
    """Of those in time, since `recent_since`; 0 if that is None."""

    @property
    def passing(self) -> float:
        """The share of those in time that match."""
        return _share(self.matching, self.in_time)


@dataclass(frozen=True, slots=True)
class Candidates:
    """How many of the nearest, and at most how many of the newest."""

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
        """Never fewer than the query's top_k. Of the nearest mostly as many as are to be expected
        in the first `max_nearest` entries of the index of vectors, and more for many hits.
        `counts_words`: whether similarity has a lexical part."""
        is_selective = (
            query.filters.metadata is not None and population.passing < tuning.selective_share
        )
        since = recent_since(query, tuning)
        depth = _depth(query, tuning)
        most = depth * max_nearest
        entries = most * (tuning.nearest_times_if_selective if is_selective else 1)
        if since is None:
            most *= tuning.nearest_share_without_age
        expected = entries * _share(population.matching, population.indexed)
        nearest = max(tuning.least_nearest, min(most, expected))
        newest = 0.0
        if query.ranking.alpha < 1 or counts_words:
            newest = depth * _newest(since, population, is_selective, tuning)
        return cls(max(query.top_k, round(nearest)), max(query.top_k, round(newest)))


def likely(query: SearchQuery, tuning: SearchTuning) -> int:
    """How many of the memories that sketches describe are scored."""
    counts_age = query.ranking.alpha == 0 or recent_since(query, tuning) is not None
    most = tuning.likely if counts_age else tuning.likely_without_age
    return max(query.top_k, round(most * _depth(query, tuning)))


def _depth(query: SearchQuery, tuning: SearchTuning) -> float:
    return math.sqrt(max(1, query.top_k / tuning.hits))


def _newest(
    since: datetime | None, population: Population, is_selective: bool, tuning: SearchTuning
) -> int:
    newest = tuning.most_newest
    if since is not None:
        recent = round(tuning.newest_share_of_recent * population.recent * population.passing)
        newest = min(newest, max(tuning.least_newest, recent))
    if is_selective:
        read = round(tuning.newest_rows_if_selective * population.passing)
        newest = min(newest, max(tuning.least_newest_if_selective, read))
    return newest


def _share(part: int, whole: int) -> float:
    return part / max(1, part, whole)


def recent_since(query: SearchQuery, tuning: SearchTuning) -> datetime | None:
    """Since when memories are recent; None if their age makes no difference, or if nothing else
    counts."""
    alpha = query.ranking.alpha
    if alpha in (0.0, 1.0):
        return None
    half_lives = min(tuning.most_half_lives, max(tuning.least_half_lives, alpha / (1 - alpha)))
    days = half_lives * query.ranking.half_life_days
    now = query.as_of or datetime.now(UTC)
    if days > tuning.most_recent_days or now.year <= 1 + days / 365:
        return None
    return now - timedelta(days=days)
