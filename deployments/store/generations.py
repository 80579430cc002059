"""Embedding generations: which model made the stored vectors."""

import asyncpg

from deployments.domain.errors import ModelMismatch
from deployments.domain.types import ModelIdentity
from deployments.store.pool import Connection
from deployments.store.queries import sql


async def adopt_generation(connection: Connection, identity: ModelIdentity) -> int:
    """The generation of `identity`, recorded where no memory was embedded by another model yet.

    Raises ModelMismatch otherwise. Safe to call from many processes at once.
    """
    async with connection.transaction():
        active = await connection.fetchrow(sql("active_generation"))
        if _is_made_by(active, identity):
            return int(active["generation"])
        await connection.execute(sql("lock_generations"))
        active = await connection.fetchrow(sql("active_generation"))
        if _is_made_by(active, identity):
            return int(active["generation"])
        if active is not None:
            if await connection.fetchval(sql("generation_in_use"), active["generation"]):
                raise ModelMismatch(_mismatch(active, identity))
            await connection.execute(sql("drop_generation"), active["generation"])
        if await connection.fetchval(sql("embedding_dimensions")) != identity.dimensions:
            await connection.execute(sql("set_embedding_dimensions"), identity.dimensions)
        return int(
            await connection.fetchval(
                sql("add_generation"),
                identity.name,
                identity.revision,
                identity.precision,
                identity.dimensions,
            )
        )


def _mismatch(active: asyncpg.Record, identity: ModelIdentity) -> str:
    stored = ModelIdentity(
        active["model"], active["revision"], active["precision"], active["dimensions"]
    )
    return (
        f"the stored memories were embedded with {stored}, but MEMEX_EMBEDDING_MODEL and "
        f"MEMEX_EMBEDDING_PRECISION now give {identity}. Set them back, or use another database "
        "(MEMEX_DATA_DIR or DATABASE_URL): vectors of two models cannot be compared"
    )


def _is_made_by(row: asyncpg.Record | None, identity: ModelIdentity) -> bool:
    return row is not None and (
        (row["model"], row["revision"], row["precision"], row["dimensions"])
        == (identity.name, identity.revision, identity.precision, identity.dimensions)
    )
