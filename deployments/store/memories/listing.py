"""Statements that list and count the memories of an agent or of one scope."""

from typing import Any

from deployments.domain.memories import ListFilters, PageKey
from deployments.store.postgres.jsonpath import to_jsonpath
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql


def list_statement(
    agent_id: str,
    user_id: str | None,
    filters: ListFilters,
    after: PageKey | None,
    max_rows: int,
) -> tuple[Any, ...]:
    """The statement and its parameters, for a page after the key `after`. `user_id` None: of all
    users."""
    values = {
        "agent_id": agent_id,
        "memory_type": filters.memory_type,
        "metadata": to_jsonpath(filters.metadata),
        "created_after": filters.created_after,
        "created_before": filters.created_before,
        "include_superseded": filters.include_superseded,
        "after_created_at": None if after is None else after.created_at,
        "after_id": None if after is None else after.id,
        "max_rows": max_rows,
    }
    if user_id is None:
        return sql.list_of_agent(**values)
    return sql.list_of_user(**values, user_id=user_id)


async def count(
    connection: Connection, agent_id: str, user_id: str | None, include_superseded: bool
) -> int:
    """How many memories the agent or scope has, without expired ones."""
    values: dict[str, Any] = {"agent_id": agent_id, "include_superseded": include_superseded}
    if user_id is None:
        return int(await connection.fetchval(*sql.count_of_agent(**values)))
    return int(await connection.fetchval(*sql.count_of_user(**values, user_id=user_id)))
