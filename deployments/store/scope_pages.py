"""Statements that work through the memories of a scope, a page at a time."""

from datetime import datetime
from typing import Any
from uuid import UUID

from deployments.store.pool import Pool
from deployments.store.queries import sql

_PAGE_TIMEOUT_S = 120.0  # of an index that is larger than memory


async def rows_left(pool: Pool, name: str, agent_id: str, user_id: str, rows: int) -> int:
    """Runs the statement for `rows` memories at once, from the newest on; how many it had to leave,
    since they were in use."""
    left = 0
    after: tuple[datetime | None, UUID | None] = (None, None)
    while True:
        async with pool.acquire() as connection:  # for each page: there may be one alone
            row: Any = await connection.fetchrow(
                sql(name), agent_id, user_id, *after, rows, timeout=_PAGE_TIMEOUT_S
            )
        left += int(row["rows_left"])
        if row["id"] is None:
            return left
        after = (row["created_at"], row["id"])
