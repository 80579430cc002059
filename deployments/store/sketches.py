"""Which scopes have sketches: those in the index of vectors, once each of their memories has some.

Triggers make them of every memory that the index has. Those of before there were any, and all of
them after a move to another model, are made here, in the background; of a scope that is new to the
index it is looked whether there are all.
"""

from collections.abc import Mapping
from typing import Any

from deployments.domain.errors import Unavailable
from deployments.store.generations import active_generation
from deployments.store.pool import Pool
from deployments.store.queries import sql
from deployments.store.scope_pages import rows_left

_ADDED_AT_ONCE = 100


async def add_sketches(pool: Pool) -> None:
    """To the scopes that lack them. Safe from many processes at once. Raises Unavailable, when it
    has tried all of them."""
    async with pool.acquire() as connection:
        scopes = await connection.fetch(sql("scopes_to_sketch"))
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
    if await rows_left(pool, "add_sketches", agent_id, user_id, _ADDED_AT_ONCE):
        return  # the next time
    async with pool.acquire() as connection:
        await connection.execute(sql("scope_has_sketches"), agent_id, user_id, generation)


def are_sketched(metadata: Mapping[str, Any]) -> bool:
    """Whether what a filter leaves has its sketches side by side: that of one key, which asks for
    all of its value."""
    return len(metadata) == 1 and not isinstance(next(iter(metadata.values())), dict | list)
