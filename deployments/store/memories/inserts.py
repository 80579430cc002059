"""The repository of inserts: it counts each call and stores all of its memories or none."""

from collections.abc import Callable, Sequence
from itertools import compress

from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import MemexError
from deployments.domain.memories import InsertCall, Memory, NewMemory, WriteKey
from deployments.domain.rate_limits import RateLimit
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.memories.idempotency import claim_key, first_insert, keep_insert, used_key
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.memories.writer import MemoryWriter
from deployments.store.postgres.pool import Pool


class InsertRepository:
    """Implements the BatchedInserts port."""

    def __init__(
        self,
        pool: Pool,
        writer: MemoryWriter,
        terms: TermsUpkeep,
        rate_limits: RateLimits,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._terms = terms
        self._rate_limits = rate_limits
        self._count = count

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        call = InsertCall(memories, embeddings, generation, rate_limit)
        agent_ids = {memory.agent_id for memory in memories}
        if rate_limit is None or len(agent_ids) == 1:
            (outcome,) = await self.insert_each([call])
            return _memories(outcome)
        terms = await self._writer.analyse([call])
        async with self._pool.acquire() as connection:
            await self._rate_limits.hit_together(connection, agent_ids, rate_limit)
            (outcome,) = await self._writer.write(connection, [call], terms)
        stored = _memories(outcome)
        self._count("insert", len(stored))
        return stored

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        terms = await self._writer.analyse(calls)
        async with self._pool.acquire() as connection:
            refusals = await self._rate_limits.hit_each(
                connection, [(call.memories[0].agent_id, call.rate_limit) for call in calls]
            )
            is_granted = [refusal is None for refusal in refusals]
            outcomes = await self._writer.write(
                connection, list(compress(calls, is_granted)), list(compress(terms, is_granted))
            )
        self._count(
            "insert", sum(len(outcome) for outcome in outcomes if isinstance(outcome, list))
        )
        remaining = iter(outcomes)
        return [refusal or next(remaining) for refusal in refusals]

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        call = InsertCall(memories, embeddings, generation, rate_limit)
        terms = await self._writer.analyse([call])
        async with self._pool.acquire() as connection:
            # In its own transaction, so that a rollback of the write does not undo it.
            await self._terms.adopt(connection)
            agent_id = memories[0].agent_id
            async with connection.transaction():
                key_row = await claim_key(connection, agent_id, key)
                if key_row is not None:
                    return await first_insert(connection, memories, key_row)
                await self._rate_limits.hit_one(connection, agent_id, rate_limit)
                (outcome,) = await self._writer.write(connection, [call], terms)
                stored = _memories(outcome)
                await keep_insert(connection, agent_id, key, stored)
        self._count("insert", len(stored))
        return stored

    async def first_insert(
        self, memories: Sequence[NewMemory], key: WriteKey
    ) -> list[Memory] | None:
        async with self._pool.acquire() as connection:
            key_row = await used_key(connection, memories[0].agent_id, key)
            return None if key_row is None else await first_insert(connection, memories, key_row)


def _memories(outcome: list[Memory] | MemexError) -> list[Memory]:
    if isinstance(outcome, MemexError):
        raise outcome
    return outcome
