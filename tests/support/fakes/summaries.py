"""The Summaries and the Condensing ports over dicts."""

from collections import Counter
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from deployments.domain.errors import NotASummary
from deployments.domain.memories import Memory, MemoryType
from deployments.domain.summaries import Condensation, ScopeToCondense, Source
from tests.support.fakes.inserts import InMemoryInserts
from tests.support.fakes.rows import Rows


class InMemorySummaries:
    def __init__(self, rows: Rows, inserts: InMemoryInserts) -> None:
        self._rows = rows
        self._inserts = inserts

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        if await self._rows.get(agent_id, memory_id) is None:
            return None
        return self._rows.sources_of(memory_id)

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        if await self._rows.get(agent_id, memory_id) is None:
            return None
        sources = self._rows.sources_of(memory_id)
        if not sources:
            raise NotASummary(str(memory_id))
        self._rows.drop(memory_id)
        restored = [replace(source, superseded_by=None) for source in sources]
        for source in restored:
            self._rows.put(source)
            self._rows.uncondensable.add(source.id)
        return restored

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        await self._rows.ping()
        counts = Counter(
            (memory.agent_id, memory.user_id)
            for memory, _ in self._rows.by_id.values()
            if self._is_condensable(memory)
        )
        scopes = sorted(scope for scope in counts if scope > after)
        return [ScopeToCondense(*scope, counts[scope] > threshold) for scope in scopes[:limit]]

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        await self._rows.ping()
        rows = sorted(
            (
                (memory, vector)
                for memory, vector in self._rows.by_id.values()
                if (memory.agent_id, memory.user_id) == (agent_id, user_id)
                and self._is_condensable(memory)
            ),
            key=lambda row: (row[0].created_at, row[0].id),
        )
        return [
            Source(
                memory.id,
                memory.content,
                vector,
                memory.importance,
                memory.metadata,
                memory.created_at,
                memory.updated_at,
            )
            for memory, vector in (rows[:limit] if len(rows) > threshold else [])
        ]

    async def condense(self, condensation: Condensation) -> Memory | None:
        await self._rows.ping()
        sources = [
            self._rows.by_id.get(source_id, (None,))[0] for source_id, _ in condensation.sources
        ]
        for source, (_, updated_at) in zip(sources, condensation.sources, strict=True):
            if source is None or source.updated_at != updated_at:
                return None
            scope = (condensation.summary.agent_id, condensation.summary.user_id)
            if (source.agent_id, source.user_id) != scope or not self._is_condensable(source):
                return None
        summary = condensation.summary
        (stored,) = await self._inserts.insert(
            [summary], condensation.embedding[None], condensation.generation, None
        )
        self._rows.uncondensable.add(stored.id)
        for source in sources:
            assert source is not None
            self._rows.put(replace(source, superseded_by=stored.id))
        return stored

    async def purge_superseded(self, before: datetime) -> int:
        raise NotImplementedError  # the fake does not record when memories were condensed

    def _is_condensable(self, memory: Memory) -> bool:
        return (
            memory.memory_type == MemoryType.EPISODIC
            and memory.superseded_by is None
            and memory.expires_at is None
            and memory.id not in self._rows.uncondensable
        )
