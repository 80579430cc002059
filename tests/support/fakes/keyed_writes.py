"""The KeyedWrites port over dicts."""

from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.memories import Memory, MemoryPatch, WriteKey
from deployments.domain.rate_limits import RateLimit
from tests.support.fakes.memories import InMemoryMemories
from tests.support.fakes.rows import Rows


class InMemoryKeyedWrites:
    def __init__(self, rows: Rows, memories: InMemoryMemories) -> None:
        self._rows = rows
        self._memories = memories

    async def update_once(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        rate_limit: RateLimit | None,
        key: WriteKey,
        condition: Precondition | None = None,
    ) -> Memory | None:
        first = await self.first_update(agent_id, key)
        if first is None:
            if generation is not None:
                self._rows.check(generation)
            first = await self._memories.update(
                agent_id, memory_id, patch, embedding, generation, rate_limit, condition
            )
            if first is not None:
                self._rows.keep_answer(agent_id, key, first)
        return first

    async def first_update(self, agent_id: str, key: WriteKey) -> Memory | None:
        first: Memory | None = await self._rows.first_answer(agent_id, key)
        return first

    async def delete_once(
        self,
        agent_id: str,
        memory_id: UUID,
        key: WriteKey,
        condition: Precondition | None = None,
    ) -> bool:
        if await self._rows.first_answer(agent_id, key) is not None:
            return True
        is_deleted = await self._memories.delete(agent_id, memory_id, condition)
        if is_deleted:
            self._rows.keep_answer(agent_id, key, True)
        return is_deleted

    async def forget_once(self, agent_id: str, user_id: str, key: WriteKey) -> int:
        first: int | None = await self._rows.first_answer(agent_id, key)
        if first is None:
            first = await self._memories.forget(agent_id, user_id)
            self._rows.keep_answer(agent_id, key, first)
        return first
