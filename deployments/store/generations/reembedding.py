"""Moving all memories to another model: their next embeddings are made beside those in use, by
steps that can be interrupted anywhere and gone on with, and then take their place at once.

What is done stands in the database: the generation that is being built, the column with its
embeddings so far, and the indexes. New and changed memories have none there until they are come to.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from pgvector import Vector

from deployments.domain.embeddings import Embeddings, ModelIdentity
from deployments.domain.errors import ReembeddingFailed
from deployments.store.generations.active import columns_of, identity_of
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql

PAGE_ROWS = 64
LAST_ROWS = 32
"""At most so many memories are embedded while writers wait."""

_FIRST_ID = UUID(int=0)
_LONG_TIMEOUT_S = 7 * 24 * 3_600.0  # of what reads or indexes all memories
_VACUUM_ENDS = "10s"
_OTHERS_WAIT = "250ms"
_LAST_EMBEDDED_S = 1.0
_IN_THE_WAY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, TimeoutError)

Embed = Callable[[Sequence[str]], Awaitable[Embeddings]]
"""Of passages, by the next model."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some memories without a next embedding, in the order of their ids."""

    ids: list[UUID]
    agent_ids: list[str]
    contents: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is to `identity`."""

    identity: ModelIdentity
    done: int
    memories: int


class _TooManyLeft(Exception):
    pass


async def progress(connection: Connection) -> Progress | None:
    """None where no run is in progress. Reads all memories."""
    building = await building_identity(connection)
    if building is None:
        return None
    row = await connection.fetchrow(*sql.count_missing_next(), timeout=_LONG_TIMEOUT_S)
    return Progress(building, row["memories"] - row["missing"], row["memories"])


async def building_identity(connection: Connection) -> ModelIdentity | None:
    """Of the model that memories are being moved to."""
    row = await connection.fetchrow(*sql.building_generation())
    return None if row is None else identity_of(row)


async def lock(connection: Connection) -> None:
    """For as long as the session lasts, or `unlock`. Raises ReembeddingFailed."""
    if not await connection.fetchval(*sql.try_reembedding()):
        raise ReembeddingFailed("another `memex reembed` is at work on this database")


async def unlock(connection: Connection) -> None:
    await connection.fetchval(*sql.end_reembedding())


async def begin(connection: Connection, identity: ModelIdentity) -> None:
    """Nothing where it has begun. Waits until nobody has the table for long."""
    if await building_identity(connection) == identity:
        return

    async def steps() -> None:
        await connection.execute(*sql.add_next_generation(**columns_of(identity)))
        await connection.execute(*sql.begin_reembedding(dimensions=identity.dimensions))

    await _when_free(connection, steps)


async def abandon(connection: Connection) -> None:
    """Drop all that was built; the embeddings in use are not touched."""

    async def steps() -> None:
        await connection.execute(*sql.abandon_reembedding())

    await _when_free(connection, steps)


async def missing(connection: Connection, after: UUID | None, limit: int = PAGE_ROWS) -> Page:
    """The first memories behind `after` that have no next embedding."""
    rows = await connection.fetch(
        *sql.memories_to_reembed(after_id=after or _FIRST_ID, max_rows=limit),
        timeout=_LONG_TIMEOUT_S,
    )
    return Page(
        [UUID(int=row["id"].int) for row in rows],
        [row["agent_id"] for row in rows],
        [row["content"] for row in rows],
    )


async def store(connection: Connection, page: Page, embeddings: Embeddings) -> int:
    """How many were stored: not those that have changed, gone, or are in use at the moment."""
    status: str = await connection.execute(
        *sql.set_next_embeddings(
            ids=page.ids,
            agent_ids=page.agent_ids,
            contents=page.contents,
            embeddings=[Vector(row) for row in embeddings],
        )
    )
    return int(status.rpartition(" ")[2])


async def index(connection: Connection, dimensions: int) -> None:
    """Build what a switch needs, in the background. What an interrupted build left is dropped."""
    rows = await connection.fetch(*sql.next_indexes())
    is_valid = {row["name"]: row["is_valid"] for row in rows}
    for name, drop, create in (
        (
            "memories_embedding_next",
            sql.drop_next_index(),
            sql.create_next_index(dimensions=dimensions),
        ),
        ("memories_embedding_next_missing", sql.drop_missing_index(), sql.create_missing_index()),
    ):
        if is_valid.get(name):
            continue
        if name in is_valid:
            await connection.execute(*drop, timeout=_LONG_TIMEOUT_S)
        await connection.execute(*create, timeout=_LONG_TIMEOUT_S)


async def indexed(connection: Connection) -> int:
    """How many memories the index that is being built has; 0 where none is."""
    return int(await connection.fetchval(*sql.index_progress()))


async def try_switch(connection: Connection, embed: Embed) -> bool:
    """Have the next embeddings take the place of those in use, all at once.

    False, with nothing changed, where there are still too many memories without one, or somebody
    uses the table for longer than others are made to wait: writers for about a second, readers for
    a quarter of one.
    """
    try:
        async with connection.transaction():
            await connection.execute(*sql.wait_for_locks(timeout=_VACUUM_ENDS))
            await connection.execute(*sql.keep_vacuum_away(), timeout=_LONG_TIMEOUT_S)
            await connection.execute(*sql.wait_for_locks(timeout=_OTHERS_WAIT))
            await connection.execute(*sql.keep_writers_away())
            page = await missing(connection, None, LAST_ROWS + 1)
            if len(page) > LAST_ROWS:
                raise _TooManyLeft
            if len(page):
                async with asyncio.timeout(_LAST_EMBEDDED_S):
                    embeddings = await embed(page.contents)
                await store(connection, page, embeddings)
            await connection.execute(*sql.keep_all_away())
            if len(await missing(connection, None, 1)):
                raise _TooManyLeft
            await connection.execute(*sql.switch_embeddings())
    except (_TooManyLeft, *_IN_THE_WAY):
        return False
    return True


async def finish(connection: Connection) -> None:
    """What a switch leaves for afterwards: looking whether no embedding is null, and statistics."""
    if not await connection.fetchval(*sql.is_unchecked()):
        return
    await connection.execute(*sql.check_embeddings(), timeout=_LONG_TIMEOUT_S)

    async def steps() -> None:
        await connection.execute(*sql.forbid_null_embeddings())
        await connection.execute(*sql.drop_check_of_embeddings())

    await _when_free(connection, steps)
    await connection.execute(*sql.analyze_memories(), timeout=_LONG_TIMEOUT_S)


async def _when_free(connection: Connection, steps: Callable[[], Awaitable[Any]]) -> None:
    """In a transaction that has the table to itself, as soon as that keeps nobody waiting long."""
    pause_s = 0.1
    while True:
        try:
            async with connection.transaction():
                await connection.execute(*sql.wait_for_locks(timeout=_VACUUM_ENDS))
                await connection.execute(*sql.keep_vacuum_away(), timeout=_LONG_TIMEOUT_S)
                await connection.execute(*sql.wait_for_locks(timeout=_OTHERS_WAIT))
                await connection.execute(*sql.keep_all_away())
                await steps()
                return
        except _IN_THE_WAY:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)
