"""What a store holds, without contents: agents, their users, memories by day."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class CountBounds:
    """How far an overview counts."""

    of_one: int = 10_000
    """Memories of one agent or user on a page of them; further ones are known to exist."""
    of_timeline: int = 50_000
    """Memories of a timeline, the newest first."""


@dataclass(frozen=True, slots=True)
class Tally:
    """An agent's or a user's id and how many memories it has; at least so many if not exact."""

    id: str
    memories: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class TallyPage:
    """In the order of ids, without those that have no memory. The next page begins after the id
    `next_after`, which is None on the last."""

    tallies: list[Tally]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class DayCounts:
    """The memories of one day (UTC) by type; at least so many if not exact."""

    day: date
    episodic: int
    semantic: int
    procedural: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """The days that have memories, oldest first, from the day `since` on: the one that was asked
    for, or, if there are too many memories to count, a later one, which is not exact."""

    since: date
    days: list[DayCounts]
