"""The Transfers port over dicts."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from itertools import compress
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import ExportPage, ImportOutcome, ListFilters, NewMemory
from deployments.domain.rate_limits import RateLimit
from tests.support.fakes.inserts import InMemoryInserts
from tests.support.fakes.memories import InMemoryMemories
from tests.support.fakes.rows import Rows

EXPORT_PAGE_ROWS = 3


class InMemoryTransfers:
    def __init__(self, rows: Rows, memories: InMemoryMemories, inserts: InMemoryInserts) -> None:
        self._rows = rows
        self._memories = memories
        self._inserts = inserts

    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        page = await self._memories.list_page(
            agent_id,
            user_id,
            page_size=len(self._rows.by_id),
            filters=ListFilters(include_superseded=True),
        )
        memories = page.memories
        for start in range(0, max(1, len(memories)), EXPORT_PAGE_ROWS):
            yield ExportPage(len(memories), memories[start : start + EXPORT_PAGE_ROWS])

    async def existing_ids(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        await self._rows.ping()
        return {
            id_
            for id_ in ids
            if id_ in self._rows.by_id and self._rows.by_id[id_][0].agent_id == agent_id
        }

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[ImportOutcome]:
        known = await self.existing_ids(memories[0].agent_id, [memory.id for memory in memories])
        taken = self._rows.by_id.keys() - known
        missing = [memory.id not in self._rows.by_id for memory in memories]
        self._rows.hit(memories[0].agent_id, rate_limit)
        new = list(compress(memories, missing))
        await self._inserts.insert(new, embeddings[missing], generation, None)
        for memory in new:
            summary, _ = self._rows.by_id.get(memory.superseded_by or memory.id, (None, None))
            if (
                summary is not None
                and summary.id != memory.id
                and ((summary.agent_id, summary.user_id) == (memory.agent_id, memory.user_id))
            ):
                self._rows.put(replace(self._rows.by_id[memory.id][0], superseded_by=summary.id))
        return [
            ImportOutcome.EXISTS if memory.id in known
            else ImportOutcome.TAKEN if memory.id in taken
            else ImportOutcome.STORED
            for memory in memories
        ]  # fmt: skip
