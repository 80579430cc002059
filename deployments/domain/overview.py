"""What a store contains, without contents: agents, their users, memories by day."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class CountBounds:
    """Up to how many memories an overview counts."""

    per_tally: int = 10_000
    """Of one agent or one user; if it has more, the count is not exact."""
    per_timeline: int = 50_000
    """Of a timeline, newest first."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The id of an agent or a user and the number of its memories, or a lower bound if not
    exact."""

    id: str
    memories: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class TallyPage:
    """Agents or users that have memories, ordered by id. The next page begins after the id
    `next_after`, which is None on the last page."""

    tallies: list[Tally]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class DayCounts:
    """The number of memories of each type on one day (UTC), or lower bounds if not exact."""

    day: date
    episodic: int
    semantic: int
    procedural: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """The days that have memories, oldest first, from the day `since` on. That is the requested day
    or, if there are too many memories to count, a later day, whose counts are not exact."""

    since: date
    days: list[DayCounts]
