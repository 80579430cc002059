"""Agents, users, and memories for each day. Agents and users are found by steps through the index
of scopes. Memories are counted only up to a bound, so that a large scope does not slow a call."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from deployments.domain.overview import (
    CountBounds,
    DayCounts,
    Tally,
    TallyPage,
    Timeline,
)
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql


class OverviewRepository:
    """Implements the Overview port."""

    def __init__(self, pool: Pool, bounds: CountBounds = CountBounds()) -> None:
        self._pool = pool
        self._bounds = bounds

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(*sql.agents(after=after, max_rows=limit + 1))
            ids = [row["agent_id"] for row in rows]
            counts = await connection.fetch(
                *sql.tally_agents(agent_ids=ids[:limit], max_counted=self._bounds.per_tally)
            )
        return self._page(ids, counts, limit)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                *sql.users(agent_id=agent_id, after=after, max_rows=limit + 1)
            )
            ids = [row["user_id"] for row in rows]
            counts = await connection.fetch(
                *sql.tally_users(
                    agent_id=agent_id, user_ids=ids[:limit], max_counted=self._bounds.per_tally
                )
            )
        return self._page(ids, counts, limit)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        max_counted = self._bounds.per_timeline + 1  # one more shows that the count is cut off
        values = {
            "agent_id": agent_id,
            "since": datetime(since.year, since.month, since.day, tzinfo=UTC),
            "max_counted": max_counted,
        }
        statement = (
            sql.timeline_of_agent(**values)
            if user_id is None
            else sql.timeline_of_user(**values, user_id=user_id)
        )
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(*statement)
        is_whole = sum(row["memories"] for row in rows) < max_counted
        first = since if is_whole else rows[0]["day"]
        days = []
        for day, rows_of_day in groupby(rows, key=lambda row: row["day"]):
            counts = {row["memory_type"]: row["memories"] for row in rows_of_day}
            days.append(
                DayCounts(
                    day,
                    counts.get("episodic", 0),
                    counts.get("semantic", 0),
                    counts.get("procedural", 0),
                    is_exact=is_whole or day > first,
                )
            )
        return Timeline(first, days)

    def _page(self, ids: Sequence[str], counts: Sequence[Any], limit: int) -> TallyPage:
        """`ids` has one more than `limit` if there is a next page."""
        bound = self._bounds.per_tally
        tallies = [
            Tally(id_, min(memories, bound), memories <= bound)
            for id_, memories in counts
            if memories > 0
        ]
        return TallyPage(tallies, ids[limit - 1] if len(ids) > limit else None)
