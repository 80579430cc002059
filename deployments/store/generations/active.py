"""Embedding generations: the model identity of the stored embeddings."""

from typing import Any

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import ModelMismatch
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.sql import sql


class GenerationRepository:
    """Implements the Generations port."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        async with self._pool.acquire() as connection:
            return await adopt_generation(connection, identity)


async def adopt_generation(connection: Connection, identity: ModelIdentity) -> int:
    """The number of the generation of `identity`; recorded if no other model has embedded a memory.

    Raises ModelMismatch if another model has, or if memories were re-embedded with another model.
    Many processes may call this at once.
    """
    async with connection.transaction():
        active = await connection.fetchrow(*sql.active_generation())
        if active is not None and identity_of(active) == identity:
            return int(active["generation"])
        await connection.execute(*sql.lock_generations())
        active = await connection.fetchrow(*sql.active_generation())
        if active is not None:
            if identity_of(active) == identity:
                return int(active["generation"])
            # A re-embedding chose the model: a replica with older settings must not undo that, even
            # if no memory is left.
            if active["is_reembedded"] or await connection.fetchval(*sql.has_memories()):
                raise ModelMismatch(_mismatch(identity_of(active), identity), identity_of(active))
            await connection.execute(*sql.drop_generation(generation=active["generation"]))
        dimensions = identity.dimensions
        if await connection.fetchval(*sql.embedding_dimensions()) != dimensions:
            await connection.execute(*sql.set_embedding_dimensions(dimensions=dimensions))
        return int(await connection.fetchval(*sql.add_generation(**columns_of(identity))))


async def active_generation(connection: Connection) -> int | None:
    """The number of the generation in use; None if there is none yet."""
    active = await connection.fetchrow(*sql.active_generation())
    return None if active is None else int(active["generation"])


async def active_identity(connection: Connection) -> ModelIdentity | None:
    """The model that embedded the memories, or that they were re-embedded with; None if any model
    may still be used."""
    active = await connection.fetchrow(*sql.active_generation())
    if active is None:
        return None
    is_bound = active["is_reembedded"] or await connection.fetchval(*sql.has_memories())
    return identity_of(active) if is_bound else None


def identity_of(row: Any) -> ModelIdentity:
    """The identity in a row of embedding_generations."""
    return ModelIdentity(row["model"], row["revision"], row["precision"], row["dimensions"])


def columns_of(identity: ModelIdentity) -> dict[str, str | int]:
    """The parameters for `identity`, by name."""
    return {
        "model": identity.name,
        "revision": identity.revision,
        "precision": identity.precision,
        "dimensions": identity.dimensions,
    }


def _mismatch(stored: ModelIdentity, identity: ModelIdentity) -> str:
    return (
        f"the stored memories were embedded with {stored}, but MEMEX_EMBEDDING_MODEL and "
        f"MEMEX_EMBEDDING_PRECISION now give {identity}. Set MEMEX_EMBEDDING_MODEL={stored.name}"
        f"{_precision(stored)}, or set neither; to change the model, run `memex reembed`. "
        "(Embeddings of two models cannot be compared)"
    )


def _precision(stored: ModelIdentity) -> str:
    if stored.precision not in ("int8", "fp32"):
        return ""
    return f" and MEMEX_EMBEDDING_PRECISION={stored.precision}"
