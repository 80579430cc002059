"""The repository of exports and imports."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import ExportPage, ImportOutcome, InsertCall, NewMemory
from deployments.domain.rate_limits import RateLimit
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.memories.writer import MemoryWriter, known_ids
from deployments.store.postgres.pool import Pool
from deployments.store.transfers.exports import Exports


class TransferRepository:
    """Implements the Transfers port."""

    def __init__(
        self,
        pool: Pool,
        exports: Exports,
        writer: MemoryWriter,
        rate_limits: RateLimits,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._exports = exports
        self._writer = writer
        self._rate_limits = rate_limits
        self._count = count

    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        async with aclosing(self._exports.pages(agent_id, user_id)) as pages:
            async for page in pages:
                yield page

    async def existing_ids(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        async with self._pool.acquire() as connection:
            return await known_ids(connection, agent_id, ids)

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[ImportOutcome]:
        call = InsertCall(memories, embeddings, generation, rate_limit)
        (terms,) = await self._writer.analyse([call])
        async with self._pool.acquire() as connection:
            await self._rate_limits.hit_one(connection, memories[0].agent_id, rate_limit)
            outcomes = await self._writer.add_missing(connection, call, terms)
        self._count("import", outcomes.count(ImportOutcome.STORED))
        return outcomes
