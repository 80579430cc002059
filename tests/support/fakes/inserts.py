"""The BatchedInserts port over dicts."""

from collections.abc import Sequence

from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import MemexError
from deployments.domain.memories import InsertCall, Memory, NewMemory, WriteKey
from deployments.domain.rate_limits import RateLimit
from tests.support.fakes.rows import Rows


class InMemoryInserts:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        await self._rows.ping()
        for agent_id in sorted({memory.agent_id for memory in memories}):
            self._rows.hit(agent_id, rate_limit)
        self._rows.check(generation)
        now = self._rows.now()
        return [
            self._rows.add(memory, embedding, now)
            for memory, embedding in zip(memories, embeddings, strict=True)
        ]

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        first = await self.first_insert(memories, key)
        if first is None:
            self._rows.check(generation)
            first = await self.insert(memories, embeddings, generation, rate_limit)
            self._rows.keep_answer(memories[0].agent_id, key, first)
        return first

    async def first_insert(
        self, memories: Sequence[NewMemory], key: WriteKey
    ) -> list[Memory] | None:
        first: list[Memory] | None = await self._rows.first_answer(memories[0].agent_id, key)
        return first

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        return [await self._outcome(call) for call in calls]

    async def _outcome(self, call: InsertCall) -> list[Memory] | MemexError:
        try:
            return await InMemoryInserts.insert(
                self, call.memories, call.embeddings, call.generation, call.rate_limit
            )
        except MemexError as error:
            return error
