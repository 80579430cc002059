"""Agents, their users and their days: found by steps through the index of scopes, and counted only
so far that a large scope does not make them slow."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from deployments.domain.overview import (
    COUNTED_OF_ONE,
    COUNTED_OF_TIMELINE,
    DayCounts,
    Tally,
    TallyPage,
    Timeline,
)
from deployments.store.pool import Connection
from deployments.store.queries import sql


async def agents(connection: Connection, limit: int, after: str | None) -> TallyPage:
    rows = await connection.fetch(sql("agents"), after, limit + 1)
    ids = [row["agent_id"] for row in rows]
    counted = await connection.fetch(sql("tally_agents"), ids[:limit], COUNTED_OF_ONE)
    return _page(ids, counted, limit)


async def users(connection: Connection, agent_id: str, limit: int, after: str | None) -> TallyPage:
    rows = await connection.fetch(sql("users"), agent_id, after, limit + 1)
    ids = [row["user_id"] for row in rows]
    counted = await connection.fetch(sql("tally_users"), agent_id, ids[:limit], COUNTED_OF_ONE)
    return _page(ids, counted, limit)


def _page(ids: Sequence[str], counted: Sequence[Any], limit: int) -> TallyPage:
    """`ids` has one more than `limit` where there is a next page."""
    tallies = [
        Tally(id_, min(memories, COUNTED_OF_ONE), memories <= COUNTED_OF_ONE)
        for id_, memories in counted
        if memories > 0
    ]
    return TallyPage(tallies, ids[limit - 1] if len(ids) > limit else None)


async def timeline(
    connection: Connection, agent_id: str, user_id: str | None, since: date
) -> Timeline:
    start = datetime(since.year, since.month, since.day, tzinfo=UTC)
    one_more = COUNTED_OF_TIMELINE + 1  # tells whether there are more
    if user_id is None:
        rows = await connection.fetch(sql("timeline_of_agent"), agent_id, start, one_more)
    else:
        rows = await connection.fetch(sql("timeline_of_user"), agent_id, user_id, start, one_more)
    is_whole = sum(row["memories"] for row in rows) < one_more
    first = since if is_whole else rows[0]["day"]
    days = []
    for day, of_day in groupby(rows, key=lambda row: row["day"]):
        counts = {row["memory_type"]: row["memories"] for row in of_day}
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
