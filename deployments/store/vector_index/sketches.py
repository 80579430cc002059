"""The scopes with sketches: those in the vector index, once each of their memories has its
sketches.

Triggers make the sketches of every memory that goes into the index. This module makes, in the
background, the sketches of memories that were in the index before the triggers existed, and all
sketches after a move to another model. It also checks scopes that are new to the index for missing
sketches.
"""

from deployments.domain.errors import Unavailable
from deployments.domain.metadata_filters import Equals, Key, MetadataTest, Scalar
from deployments.store.generations.active import active_generation
from deployments.store.postgres.pool import Pool
from deployments.store.postgres.scope_pages import process_pages
from deployments.store.sql import sql

_PAGE_ROWS = 100


async def add_sketches(pool: Pool) -> None:
    """Add missing sketches to all scopes that lack some. Many processes may call this at once.
    Raises Unavailable after it has tried every scope."""
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
    if await process_pages(pool, sql.add_sketches, agent_id, user_id, _PAGE_ROWS):
        return  # the next run tries the locked rows again
    async with pool.acquire() as connection:
        await connection.execute(
            *sql.scope_has_sketches(agent_id=agent_id, user_id=user_id, generation=generation)
        )


def sketched_by(metadata: MetadataTest | None) -> dict[str, Scalar] | None:
    """The key and value by which the memories that pass the filter have sketches; None if the
    filter asks for anything else."""
    match metadata:
        case Key(name, Equals(value)):
            return {name: value}
    return None
