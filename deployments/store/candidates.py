"""How many candidates of each kind a search of a large scope looks at.

A scope that is not scored whole is looked at from several sides, and what one of them would miss
another finds. What each costs depends on how many memories have to be passed over for one that is
wanted: an entry of the index of vectors takes some ten times as long as a row in the order of time.
Of the newest, the statement looks through fewer where the others tell that older ones are no hits.
The figures below were chosen by what exact scoring finds among a million memories
(loadtest/README.md).
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from deployments.domain.types import SearchQuery

# More hits than these have more looked at, by the square root of how many times as many they are.
_HITS = 10
# Of the nearest: the fewest. Where metadata leave less than such a share, so many times the entries
# of the index of vectors are read for them, since fewer of the newest are sought.
_LEAST_NEAREST, _MORE_BY_METADATA, _METADATA_SHARE = 50, 2.5, 0.5
# Where age makes no difference, the best are among the first of the nearest. Still more are read
# than the index finds at first (hnsw.ef_search): should it be in a wrong region, it goes elsewhere.
_SHARE_WITHOUT_AGE = 0.5
# Of the newest: the fewest, the most, and between them so much of what is of late and matches.
_LEAST_NEWEST, _MOST_NEWEST, _NEWEST_OF_LATE = 3_500, 7_000, 0.3
# Where metadata filter, rows have to be read to be passed over: not more than so many, but for the
# fewest. Those of other types are passed over in the index of scopes.
_ROWS_BY_METADATA, _LEAST_NEWEST_BY_METADATA = 20_000, 500

# Of those that sketches tell of, for that many hits. Where age counts, it is known, and fewer do.
_LIKELY, _LIKELY_WITHOUT_AGE = 500, 1_500

# "Of late" is alpha / (1 - alpha) half-lives, within these; with a longer time than the last, ages
# make no difference.
_LEAST_HALF_LIVES, _MOST_HALF_LIVES = 0.1, 4.0
_MOST_RECENT_DAYS = 36_500.0


@dataclass(frozen=True, slots=True)
class Population:
    """What a search has before it; mostly the planner's guesses."""

    indexed: int
    """Memories in the index of vectors, of all scopes."""
    in_time: int
    """Of the scope, in the span of time that is asked for."""
    matching: int
    """Of those, that pass the other filters."""
    of_late: int = 0
    """Of those in time, since `late_after`; 0 where that is None."""

    @property
    def passing(self) -> float:
        """The share of those in time that match."""
        return _share(self.matching, self.in_time)


@dataclass(frozen=True, slots=True)
class Candidates:
    """How many of the nearest, and of the newest at most."""

    nearest: int
    newest: int

    @classmethod
    def of(
        cls, query: SearchQuery, population: Population, most_nearest: int, counts_words: bool
    ) -> Self:
        """Of either never fewer than are asked for. Of the nearest mostly as many as are to be
        expected in the first `most_nearest` entries of the index of vectors, more for many hits.
        `counts_words`: whether similarity has a lexical part."""
        is_by_metadata = query.filters.metadata is not None and population.passing < _METADATA_SHARE
        after = late_after(query)
        depth = _depth(query)
        most = depth * most_nearest * (1 if after is not None else _SHARE_WITHOUT_AGE)
        entries = depth * most_nearest * (_MORE_BY_METADATA if is_by_metadata else 1)
        nearest = entries * _share(population.matching, population.indexed)
        nearest = max(_LEAST_NEAREST, min(most, nearest))
        newest = 0.0
        if query.ranking.alpha < 1 or counts_words:
            newest = depth * _newest(after, population, is_by_metadata)
        return cls(max(query.top_k, round(nearest)), max(query.top_k, round(newest)))


def likely(query: SearchQuery) -> int:
    """How many are scored of those that sketches tell of; all where they are fewer."""
    counts_age = query.ranking.alpha == 0 or late_after(query) is not None
    most = _LIKELY if counts_age else _LIKELY_WITHOUT_AGE
    return max(query.top_k, round(most * _depth(query)))


def _depth(query: SearchQuery) -> float:
    return math.sqrt(max(1, query.top_k / _HITS))


def _newest(after: datetime | None, population: Population, is_by_metadata: bool) -> int:
    newest = _MOST_NEWEST
    if after is not None:
        of_late = round(_NEWEST_OF_LATE * population.of_late * population.passing)
        newest = min(_MOST_NEWEST, max(_LEAST_NEWEST, of_late))
    if is_by_metadata:
        read = round(_ROWS_BY_METADATA * population.passing)
        newest = min(newest, max(_LEAST_NEWEST_BY_METADATA, read))
    return newest


def _share(part: int, whole: int) -> float:
    return part / max(1, part, whole)


def late_after(query: SearchQuery) -> datetime | None:
    """Since when memories are of late; None where it makes no difference how old they are, or where
    nothing else counts."""
    alpha = query.ranking.alpha
    if alpha in (0.0, 1.0):
        return None
    half_lives = min(_MOST_HALF_LIVES, max(_LEAST_HALF_LIVES, alpha / (1 - alpha)))
    days = half_lives * query.ranking.half_life_days
    now = query.as_of or datetime.now(UTC)
    if days > _MOST_RECENT_DAYS or now.year <= 1 + days / 365:
        return None
    return now - timedelta(days=days)
