"""Undoing a summary: its sources are shown again."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql


async def undo_summary(
    connection: Connection, agent_id: str, summary_id: UUID, *, condensable: bool
) -> Sequence[Any]:
    """Show the summary's sources again, delete the summary, and return the sources' rows.
    `condensable`: whether the sources may be condensed again.

    Needs a transaction that holds the scope's lock, so that no two calls wait for each other's
    sources.
    """
    rows: Sequence[Any] = await connection.fetch(
        *sql.show_sources(agent_id=agent_id, summary_id=summary_id, condensable=condensable)
    )
    await connection.execute(*sql.drop_summary(agent_id=agent_id, summary_id=summary_id))
    return rows
