"""The Memories port over dicts."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.errors import Superseded
from deployments.domain.memories import (
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    Page,
    PageKey,
)
from deployments.domain.rate_limits import RateLimit
from tests.support.fakes.filters import passes
from tests.support.fakes.rows import Past, Rows


class InMemoryMemories:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        return await self._rows.get(agent_id, memory_id)

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        *,
        page_size: int,
        after: PageKey | None = None,
        filters: ListFilters = ListFilters(),
    ) -> Page:
        await self._rows.ping()
        following = sorted(
            (
                memory
                for memory, _ in self._rows.by_id.values()
                if memory.agent_id == agent_id
                and user_id in (None, memory.user_id)
                and passes(memory, filters)
                and (after is None or (memory.created_at, memory.id) < (after.created_at, after.id))
            ),
            key=lambda memory: (memory.created_at, memory.id),
            reverse=True,
        )
        page = following[:page_size]
        has_next = len(following) > page_size
        return Page(page, PageKey(page[-1].created_at, page[-1].id) if has_next else None)

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        rate_limit: RateLimit | None,
        condition: Precondition | None = None,
    ) -> Memory | None:
        memory = await self._rows.get(agent_id, memory_id)
        self._rows.hit(agent_id, rate_limit)
        if generation is not None:
            self._rows.check(generation)
        if memory is None:
            return None
        if memory.superseded_by is not None:
            raise Superseded(str(memory_id), str(memory.superseded_by))
        if condition is not None:
            condition.check(memory)
        changes: dict[str, Any] = {
            name: value
            for name in ("content", "importance", "memory_type", "metadata")
            if (value := getattr(patch, name)) is not None
        }
        changed = replace(memory, **changes, updated_at=self._rows.now())
        vector = self._rows.by_id[memory_id][1] if embedding is None else embedding
        if patch.expiry is not None:
            changed = replace(changed, expires_at=patch.expiry.at)
            for source in self._rows.sources_of(memory_id):
                self._rows.put(replace(source, expires_at=patch.expiry.at))
        if replace(changed, updated_at=memory.updated_at) != memory:
            past = Past(memory, self._rows.by_id[memory_id][1], changed.updated_at)
            self._rows.versions.setdefault(memory_id, []).append(past)
        self._rows.by_id[memory_id] = (changed, vector)
        return changed

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        if await self._rows.get(agent_id, memory_id) is None:
            return None
        versions = self._rows.history(memory_id)
        return [v for v in reversed(versions) if before is None or v.version < before][:limit]

    async def delete(
        self, agent_id: str, memory_id: UUID, condition: Precondition | None = None
    ) -> bool:
        memory = await self._rows.get(agent_id, memory_id)
        if memory is None:
            self._rows.drop_answers(agent_id, memory_id=memory_id)
            return condition is None and self._rows.erase_expired(memory_id, agent_id)
        if condition is not None:
            condition.check(memory)
        for source in self._rows.sources_of(memory_id):
            self._rows.drop(source.id)
        self._rows.drop(memory_id)
        if memory.superseded_by is not None:
            for source in self._rows.sources_of(memory.superseded_by):
                self._rows.put(replace(source, superseded_by=None))
            self._rows.drop(memory.superseded_by)
        return True

    async def forget(self, agent_id: str, user_id: str) -> int:
        await self._rows.ping()
        forgotten = [
            memory
            for memory, _ in self._rows.by_id.values()
            if (memory.agent_id, memory.user_id) == (agent_id, user_id)
        ]
        for memory in forgotten:
            self._rows.drop(memory.id)
        self._rows.drop_answers(agent_id, user_id=user_id)
        for memory_id, versions in list(self._rows.versions.items()):
            if (versions[0].memory.agent_id, versions[0].memory.user_id) == (agent_id, user_id):
                del self._rows.versions[memory_id]
        return sum(memory.superseded_by is None for memory in forgotten)

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        await self._rows.ping()
        return sum(
            memory.agent_id == agent_id
            and user_id in (None, memory.user_id)
            and (include_superseded or memory.superseded_by is None)
            for memory, _ in self._rows.by_id.values()
        )
