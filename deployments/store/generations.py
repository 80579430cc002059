"""Embedding generations: which model made the stored vectors."""

from typing import Any

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
        if active is not None and identity_of(active) == identity:
            return int(active["generation"])
        await connection.execute(sql("lock_generations"))
        active = await connection.fetchrow(sql("active_generation"))
        if active is not None:
            if identity_of(active) == identity:
                return int(active["generation"])
            # What was chosen by moving memories stays, lest a replica with older settings undo it.
            if active["is_reembedded"] or await connection.fetchval(sql("has_memories")):
                raise ModelMismatch(_mismatch(identity_of(active), identity), identity_of(active))
            await connection.execute(sql("drop_generation"), active["generation"])
        if await connection.fetchval(sql("embedding_dimensions")) != identity.dimensions:
            await connection.execute(sql("set_embedding_dimensions"), identity.dimensions)
        return int(await connection.fetchval(sql("add_generation"), *columns_of(identity)))


async def active_generation(connection: Connection) -> int | None:
    """The one in use."""
    active = await connection.fetchrow(sql("active_generation"))
    return None if active is None else int(active["generation"])


async def active_identity(connection: Connection) -> ModelIdentity | None:
    """Of the model that the memories are embedded with, or were moved to; None where none is bound
    to be used yet."""
    active = await connection.fetchrow(sql("active_generation"))
    if active is None:
        return None
    is_bound = active["is_reembedded"] or await connection.fetchval(sql("has_memories"))
    return identity_of(active) if is_bound else None


def identity_of(row: Any) -> ModelIdentity:
    """Of a row of embedding_generations."""
    return ModelIdentity(row["model"], row["revision"], row["precision"], row["dimensions"])


def columns_of(identity: ModelIdentity) -> tuple[str, str, str, int]:
    """In the order in which statements take them."""
    return identity.name, identity.revision, identity.precision, identity.dimensions


def _mismatch(stored: ModelIdentity, identity: ModelIdentity) -> str:
    return (
        f"the stored memories were embedded with {stored}, but MEMEX_EMBEDDING_MODEL and "
        f"MEMEX_EMBEDDING_PRECISION now give {identity}. Set MEMEX_EMBEDDING_MODEL={stored.name}"
        f"{_precision(stored)}, or neither; `memex reembed` moves memories to another model. "
        "(Vectors of two models cannot be compared)"
    )


def _precision(stored: ModelIdentity) -> str:
    if stored.precision not in ("int8", "fp32"):
        return ""
    return f" and MEMEX_EMBEDDING_PRECISION={stored.precision}"
