"""Re-embeds all memories with another model. The next embeddings are built while those in use serve
searches; then one transaction switches. Every step can be interrupted and continued.

The progress is in the database: the generation being built, the column with its embeddings so far,
and its indexes. New and changed memories have no next embedding until a later page includes them.
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
"""The most memories that a switch embeds while writers wait."""

_FIRST_ID = UUID(int=0)
_LONG_TIMEOUT_S = 7 * 24 * 3_600.0  # for statements that read or index all memories
_VACUUM_LOCK_TIMEOUT = "10s"
_TABLE_LOCK_TIMEOUT = "250ms"
_LAST_EMBEDDING_TIMEOUT_S = 1.0
_RETRIED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, TimeoutError)

Embed = Callable[[Sequence[str]], Awaitable[Embeddings]]
"""Embeds passages with the next model."""


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
    """The number of memories, and how many are `done`: embedded with the model `identity`."""

    identity: ModelIdentity
    done: int
    memories: int


class _TooManyMissing(Exception):
    pass


async def progress(connection: Connection) -> Progress | None:
    """The progress of the re-embedding; None if none has begun. Reads all memories."""
    building = await building_identity(connection)
    if building is None:
        return None
    row = await connection.fetchrow(*sql.count_missing_next(), timeout=_LONG_TIMEOUT_S)
    return Progress(building, row["memories"] - row["missing"], row["memories"])


async def building_identity(connection: Connection) -> ModelIdentity | None:
    """The model that memories are being re-embedded with; None if no re-embedding has begun."""
    row = await connection.fetchrow(*sql.building_generation())
    return None if row is None else identity_of(row)


async def lock(connection: Connection) -> None:
    """Lock out other runs, until `unlock` or the end of the session. Raises ReembeddingFailed if
    another run holds the lock."""
    if not await connection.fetchval(*sql.try_reembedding()):
        raise ReembeddingFailed("another `memex reembed` is running on this database")


async def unlock(connection: Connection) -> None:
    await connection.fetchval(*sql.end_reembedding())


async def begin(connection: Connection, identity: ModelIdentity) -> None:
    """Add the generation and its column, unless they exist. Waits until no session uses the table
    for long."""
    if await building_identity(connection) == identity:
        return

    async def steps() -> None:
        await connection.execute(*sql.add_next_generation(**columns_of(identity)))
        await connection.execute(*sql.begin_reembedding(dimensions=identity.dimensions))

    await _with_table_locked(connection, steps)


async def abandon(connection: Connection) -> None:
    """Drop the next embeddings and their indexes. The embeddings in use are not changed."""

    async def steps() -> None:
        await connection.execute(*sql.abandon_reembedding())

    await _with_table_locked(connection, steps)


async def missing(connection: Connection, after: UUID | None, limit: int = PAGE_ROWS) -> Page:
    """The first memories after the id `after` that have no next embedding."""
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
    """Store the page's next embeddings, except of memories that were changed, deleted, or whose
    rows are locked. Returns how many were stored."""
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
    """Build the indexes that a switch needs, while writes continue. An invalid index, left by an
    interrupted build, is built again."""
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
    """How many memories the index being built has so far; 0 if none is being built."""
    return int(await connection.fetchval(*sql.index_progress()))


async def try_switch(connection: Connection, embed: Embed) -> bool:
    """Replace the embeddings in use by the next ones, in one transaction.

    Returns False, with nothing changed, if more than `LAST_ROWS` memories have no next embedding,
    or if a session uses the table for longer than others may be kept waiting: about 1 s for
    writers, 0.25 s for readers.
    """
    try:
        async with connection.transaction():
            await connection.execute(*sql.wait_for_locks(timeout=_VACUUM_LOCK_TIMEOUT))
            await connection.execute(*sql.keep_vacuum_away(), timeout=_LONG_TIMEOUT_S)
            await connection.execute(*sql.wait_for_locks(timeout=_TABLE_LOCK_TIMEOUT))
            await connection.execute(*sql.keep_writers_away())
            page = await missing(connection, None, LAST_ROWS + 1)
            if len(page) > LAST_ROWS:
                raise _TooManyMissing
            if len(page):
                async with asyncio.timeout(_LAST_EMBEDDING_TIMEOUT_S):
                    embeddings = await embed(page.contents)
                await store(connection, page, embeddings)
            await connection.execute(*sql.keep_all_away())
            if len(await missing(connection, None, 1)):
                raise _TooManyMissing
            await connection.execute(*sql.switch_embeddings())
    except (_TooManyMissing, *_RETRIED):
        return False
    return True


async def finish(connection: Connection) -> None:
    """Do the work that a switch postpones: check that no embedding is null, and analyze the
    table."""
    if not await connection.fetchval(*sql.is_unchecked()):
        return
    await connection.execute(*sql.check_embeddings(), timeout=_LONG_TIMEOUT_S)

    async def steps() -> None:
        await connection.execute(*sql.forbid_null_embeddings())
        await connection.execute(*sql.drop_check_of_embeddings())

    await _with_table_locked(connection, steps)
    await connection.execute(*sql.analyze_memories(), timeout=_LONG_TIMEOUT_S)


async def _with_table_locked(connection: Connection, steps: Callable[[], Awaitable[Any]]) -> None:
    """Run `steps` in a transaction that locks out all other sessions. Tries until it gets the lock
    quickly, so that no session waits long."""
    pause_s = 0.1
    while True:
        try:
            async with connection.transaction():
                await connection.execute(*sql.wait_for_locks(timeout=_VACUUM_LOCK_TIMEOUT))
                await connection.execute(*sql.keep_vacuum_away(), timeout=_LONG_TIMEOUT_S)
                await connection.execute(*sql.wait_for_locks(timeout=_TABLE_LOCK_TIMEOUT))
                await connection.execute(*sql.keep_all_away())
                await steps()
                return
        except _RETRIED:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)
