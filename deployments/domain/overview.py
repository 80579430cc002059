"""What there is, without what it says: agents, their users, memories by day."""

from dataclasses import dataclass
from datetime import date

COUNTED_OF_ONE = 10_000
"""Memories of one agent or user that a page of them counts; further ones are known to be there."""

COUNTED_OF_TIMELINE = 50_000
"""Memories that a timeline counts, the newest first."""


@dataclass(frozen=True, slots=True)
class Tally:
    """An agent's or a user's id and how many memories it has; at least so many where not exact."""

    id: str
    memories: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class TallyPage:
    """In the order of ids, without those that have no memory. The next page begins behind the id
    `next_after`, which is None on the last."""

    tallies: list[Tally]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class DayCounts:
    """The memories of one day (UTC) by their type; at least so many where not exact."""

    day: date
    episodic: int
    semantic: int
    procedural: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """The days that have memories, oldest first, from the day `since` on: the one that was asked
    for, or where there are too many to count, a later one, which is not exact."""

    since: date
    days: list[DayCounts]
