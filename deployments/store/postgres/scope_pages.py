"""Statements that process the memories of a scope, a page at a time."""

from datetime import datetime
from typing import Any
from uuid import UUID

from deployments.store.postgres.pool import Pool
from deployments.store.sql import Statement

_PAGE_TIMEOUT_S = 120.0  # for an index that is larger than memory


async def process_pages(
    pool: Pool, statement: Statement, agent_id: str, user_id: str, page_rows: int
) -> int:
    """Run the statement page by page, newest memories first. Returns how many memories it left out
    because their rows were locked."""
    left_out = 0
    created_at: datetime | None = None
    memory_id: UUID | None = None
    while True:
        # Free the connection after each page: the pool may have only one.
        async with pool.acquire() as connection:
            row: Any = await connection.fetchrow(
                *statement(
                    agent_id=agent_id,
                    user_id=user_id,
                    after_created_at=created_at,
                    after_id=memory_id,
                    max_rows=page_rows,
                ),
                timeout=_PAGE_TIMEOUT_S,
            )
        left_out += int(row["rows_left_out"])
        created_at, memory_id = row["created_at"], row["id"]
        if memory_id is None:
            return left_out
