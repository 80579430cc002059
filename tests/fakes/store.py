"""The whole store, of its parts."""

from collections.abc import Awaitable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deployments.domain.errors import KeyReused, MemexError, Superseded
from deployments.domain.types import (
    Embeddings,
    InsertCall,
    Memory,
    MemoryPatch,
    MemoryVersion,
    NewMemory,
    RateLimit,
    SearchCall,
    WriteKey,
)
from tests.fakes.overview import Overview
from tests.fakes.searches import Searches
from tests.fakes.summaries import Summaries
from tests.fakes.transfers import Transfers


class InMemoryStore(Searches, Summaries, Transfers, Overview):
    """The BatchedMemoryStore port over dicts; `down` makes it unavailable."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[tuple[str, str], tuple[bytes, list[Memory]]] = {}

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        first = self._keys.get((memories[0].agent_id, key.key))
        if first is None:
            self._check(generation)
            stored = await self.insert(memories, embeddings, generation, limit)
            self._keys[memories[0].agent_id, key.key] = (key.fingerprint, stored)
            return stored
        if first[0] != key.fingerprint:
            raise KeyReused(key.key)
        return first[1]

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        return [await _result(InMemoryStore.insert(self, *_arguments(call))) for call in calls]

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | None]:
        return [await _result(InMemoryStore.search(self, *_arguments(call))) for call in calls]

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        memory = await self.get(agent_id, memory_id)
        self._hit(agent_id, limit)
        if generation is not None:
            self._check(generation)
        if memory is None:
            return None
        if memory.superseded_by is not None:
            raise Superseded(str(memory_id), str(memory.superseded_by))
        changes: dict[str, Any] = {
            name: value
            for name in ("content", "importance", "memory_type", "metadata")
            if (value := getattr(patch, name)) is not None
        }
        changed = replace(memory, **changes, updated_at=datetime.now(UTC))
        vector = self._rows[memory_id][1] if embedding is None else embedding
        if patch.expiry is not None:
            changed = replace(changed, expires_at=patch.expiry.at)
            for source in self._sources_of(memory_id):
                self._put(replace(source, expires_at=patch.expiry.at))
        if replace(changed, updated_at=memory.updated_at) != memory:
            versions = self._versions.setdefault(memory_id, [])
            versions.append(
                MemoryVersion(
                    len(versions) + 1,
                    memory.content,
                    memory.importance,
                    memory.memory_type,
                    memory.metadata,
                    memory.expires_at,
                    memory.updated_at,
                    changed.updated_at,
                )
            )
        self._rows[memory_id] = (changed, vector)
        return changed

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        if await self.get(agent_id, memory_id) is None:
            return None
        versions = self._versions.get(memory_id, [])
        return [v for v in reversed(versions) if before is None or v.version < before][:limit]

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        memory = await self.get(agent_id, memory_id)
        if memory is None:
            return False
        for source in self._sources_of(memory_id):
            self._drop(source.id)
        self._drop(memory_id)
        if memory.superseded_by is not None:
            for source in self._sources_of(memory.superseded_by):
                self._put(replace(source, superseded_by=None))
            self._drop(memory.superseded_by)
        return True

    async def forget(self, agent_id: str, user_id: str) -> int:
        await self.ping()
        gone = [
            memory
            for memory, _ in self._rows.values()
            if (memory.agent_id, memory.user_id) == (agent_id, user_id)
        ]
        for memory in gone:
            self._drop(memory.id)
        return sum(memory.superseded_by is None for memory in gone)

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        await self.ping()
        return sum(
            memory.agent_id == agent_id
            and user_id in (None, memory.user_id)
            and (include_superseded or memory.superseded_by is None)
            for memory, _ in self._rows.values()
        )


def _arguments(call: InsertCall | SearchCall) -> list[Any]:
    return [getattr(call, field.name) for field in fields(call)]


async def _result(call: Awaitable[list[Memory]]) -> list[Memory] | MemexError:
    try:
        return await call
    except MemexError as error:
        return error
