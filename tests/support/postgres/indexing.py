"""Helpers for the tests of the vector index."""

from deployments.domain.memories import NewMemory
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql

LARGE_FROM_100 = StoreSettings(exact_search_rows=100)


async def indexed_flags(pool: Pool, user: str = "user") -> list[bool]:
    """Whether each memory of the user is in the vector index, in the order of ids."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select indexed from memories where agent_id = 'agent' and user_id = $1 order by id",
            user,
        )
    return [row["indexed"] for row in rows]


async def is_filled(pool: Pool, user: str = "user") -> bool | None:
    """Whether the vector index has all of the scope; None if the scope is not listed as large."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(*sql.listed_scope(agent_id="agent", user_id=user))
        value: bool | None = row["is_filled"]
        return value


def new_memories(count: int, user: str = "user") -> list[NewMemory]:
    return [NewMemory(uuid7(), "agent", user, f"new {n}") for n in range(count)]
