"""How many candidates of each kind a search of a large scope looks at.

A scope that is not scored whole is looked at from several sides, and what one of them would miss
another finds. What each costs depends on how many memories have to be passed over for one that is
wanted: an entry of the index of vectors takes eight microseconds, a row in the order of time less
than one. The figures below were chosen by what exact scoring finds among a million memories
(loadtest/README.md).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from deployments.domain.types import SearchQuery

# Of the nearest: the fewest, and how many entries of the index may be read for them; more where the
# nearest of late are left out.
_LEAST_NEAREST, _INDEX_ENTRIES, _INDEX_ENTRIES_OF_FEW = 50, 1_000, 1_500
# Of the newest likewise, and the most.
_LEAST_NEWEST, _ROWS, _MOST_NEWEST = 500, 20_000, 8_000
# Of the nearest of late. They are sought where filters leave at least this share: where fewer pass,
# they take longest of all, and the newest reach back as far.
_RECENT, _RECENT_SHARE = 50, 0.5

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


@dataclass(frozen=True, slots=True)
class Candidates:
    """How many of the nearest, of the nearest since `recent_after`, and of the newest."""

    nearest: int
    recent: int
    recent_after: datetime | None
    newest: int

    @classmethod
    def of(
        cls, query: SearchQuery, population: Population, most_nearest: int, counts_words: bool
    ) -> Self:
        """Never fewer than are asked for. `counts_words`: whether similarity has a lexical part."""
        alpha, top_k = query.ranking.alpha, query.top_k
        passing = _share(population.matching, population.in_time)
        indexed = _share(population.matching, population.indexed)
        entries = _INDEX_ENTRIES if passing >= _RECENT_SHARE else _INDEX_ENTRIES_OF_FEW
        nearest = min(most_nearest, max(_LEAST_NEAREST, round(entries * indexed)))
        newest = min(_MOST_NEWEST, max(_LEAST_NEWEST, round(_ROWS * passing)))
        if alpha == 1 and not counts_words:
            newest = 0
        recent_after = _recent_after(query)
        if recent_after is not None and (
            passing < _RECENT_SHARE or _is_mostly_recent(query, recent_after)
        ):
            recent_after = None
        return cls(
            max(nearest, top_k),
            0 if recent_after is None else max(_RECENT, top_k),
            recent_after,
            max(newest, top_k),
        )


def _share(part: int, whole: int) -> float:
    return part / max(1, part, whole)


def _recent_after(query: SearchQuery) -> datetime | None:
    """Since when the nearest of late are; None where it makes no difference how old they are, or
    where nothing else counts."""
    alpha = query.ranking.alpha
    if alpha in (0.0, 1.0):
        return None
    half_lives = min(_MOST_HALF_LIVES, max(_LEAST_HALF_LIVES, alpha / (1 - alpha)))
    days = half_lives * query.ranking.half_life_days
    now = query.as_of or datetime.now(UTC)
    if days > _MOST_RECENT_DAYS or now.year <= 1 + days / 365:
        return None
    return now - timedelta(days=days)


def _is_mostly_recent(query: SearchQuery, recent_after: datetime) -> bool:
    """Whether the span that is asked for is of late, so that its nearest are, too."""
    asked_after = query.filters.created_after
    if asked_after is None:
        return False
    now = query.as_of or datetime.now(UTC)
    return asked_after >= recent_after or now - asked_after <= 2 * (now - recent_after)
