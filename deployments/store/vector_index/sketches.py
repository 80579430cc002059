"""Which scopes have sketches: those in the index of vectors, once each of their memories has its
own.

Triggers make the sketches of every memory that goes into the index. Sketches of memories that were
there before, and all of them after a move to another model, are made here, in the background; a
scope that is new to the index is checked for missing ones.
"""

from collections.abc import Mapping
from typing import Any

from deployments.domain.errors import Unavailable
from deployments.store.generations.active import active_generation
from deployments.store.postgres.pool import Pool
from deployments.store.postgres.scope_pages import rows_left
from deployments.store.sql import sql

_PAGE_ROWS = 100


async def add_sketches(pool: Pool) -> None:
    """Sketch the scopes that lack sketches. Safe from many processes at once. Raises Unavailable
    after it has tried all of them."""
    async with pool.acquire() as connection:
        scopes = await connection.fetch(*sql.scopes_to_sketch())
    failure: Unavailable | None = None
    for agent_id, user_id in scopes:
        try:
            await _add(pool, agent_id, user_id)
        except Unavailable as error:
            failure = error
    if failure is not None:
        raise failure


async def _add(pool: Pool, agent_id: str, user_id: str) -> None:
    async with pool.acquire() as connection:
        generation = await active_generation(connection)
    if await rows_left(pool, sql.add_sketches, agent_id, user_id, _PAGE_ROWS):
        return  # the next time
    async with pool.acquire() as connection:
        await connection.execute(
            *sql.scope_has_sketches(agent_id=agent_id, user_id=user_id, generation=generation)
        )


def are_sketched(metadata: Mapping[str, Any]) -> bool:
    """Whether the memories that a filter leaves have their sketches side by side: if it names one
    key with a single value."""
    return len(metadata) == 1 and not isinstance(next(iter(metadata.values())), dict | list)
