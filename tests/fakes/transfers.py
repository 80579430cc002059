"""What exports and imports need of a store."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from itertools import compress
from uuid import UUID

from deployments.domain.types import Embeddings, ExportPage, Imported, NewMemory, RateLimit
from tests.fakes.rows import Rows

EXPORTED_AT_ONCE = 3


class Transfers(Rows):
    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        page = await self.list_page(agent_id, user_id, None, len(self._rows), None, True)
        memories = page.memories
        for start in range(0, max(1, len(memories)), EXPORTED_AT_ONCE):
            yield ExportPage(len(memories), memories[start : start + EXPORTED_AT_ONCE])

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        await self.ping()
        return {id_ for id_ in ids if id_ in self._rows and self._rows[id_][0].agent_id == agent_id}

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Imported]:
        known = await self.known(memories[0].agent_id, [memory.id for memory in memories])
        taken = self._rows.keys() - known
        missing = [memory.id not in self._rows for memory in memories]
        self._hit(memories[0].agent_id, limit)
        new = list(compress(memories, missing))
        await self.insert(new, embeddings[missing], generation, None)
        for memory in new:
            summary, _ = self._rows.get(memory.superseded_by or memory.id, (None, None))
            if (
                summary is not None
                and summary.id != memory.id
                and ((summary.agent_id, summary.user_id) == (memory.agent_id, memory.user_id))
            ):
                self._put(replace(self._rows[memory.id][0], superseded_by=summary.id))
        return [
            Imported.THERE if memory.id in known
            else Imported.TAKEN if memory.id in taken
            else Imported.STORED
            for memory in memories
        ]  # fmt: skip
