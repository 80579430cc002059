"""The memories of the in-memory store, which all its ports share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deployments.domain.embeddings import Embeddings, ModelIdentity
from deployments.domain.errors import (
    DeletedSince,
    GenerationRetired,
    KeyReused,
    ModelMismatch,
    RateLimited,
    Unavailable,
)
from deployments.domain.memories import Memory, MemoryVersion, NewMemory, WriteKey
from deployments.domain.rate_limits import ObserveQuota, Quota, RateLimit


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Past:
    """A memory as it was until `replaced_at`."""

    memory: Memory
    vector: Embeddings
    replaced_at: datetime
    is_change: bool = True
    """False if the memory expired then."""


class Rows:
    """The memories as dicts, with the operations that most ports need.

    Implements the Health and the Generations ports. `down` makes the whole store unavailable.
    """

    def __init__(self, now: Callable[[], datetime] = now) -> None:
        self.now = now
        self.down = False
        self.by_id: dict[UUID, tuple[Memory, Embeddings]] = {}
        self.versions: dict[UUID, list[Past]] = {}
        """Of each memory, from the first on; also of expired ones, which are kept for good."""
        self.superseded_at: dict[UUID, datetime] = {}
        self.uncondensable: set[UUID] = set()
        """Summaries and restored sources, which are never condensed again."""
        self._answers: dict[tuple[str, str], tuple[bytes, Any]] = {}
        self.observe_quota: ObserveQuota = lambda _quota: None
        self._hits: dict[tuple[str, str], list[float]] = {}
        self._identity: ModelIdentity | None = None
        self._generation = 1
        self._is_reembedded = False

    async def ping(self) -> None:
        if self.down:
            raise Unavailable("database")
        for memory, _ in list(self.by_id.values()):
            if memory.expires_at is not None and memory.expires_at <= self.now():
                self._expire(memory.id)

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        await self.ping()
        if self._identity not in (None, identity) and (self.by_id or self._is_reembedded):
            raise ModelMismatch("another model", self._identity)
        self._identity = identity
        return self._generation

    def switch(self, identity: ModelIdentity) -> None:
        """Act as if all memories had been re-embedded with that model."""
        self._identity, self._is_reembedded = identity, True
        self._generation += 1

    def check(self, generation: int) -> None:
        """Raises GenerationRetired if another generation is in use."""
        if generation != self._generation:
            raise GenerationRetired

    def hit(self, agent_id: str, rate_limit: RateLimit | None) -> None:
        """Count one call. Raises RateLimited."""
        if rate_limit is None:
            return
        now_s = time.monotonic()
        key = (agent_id, rate_limit.operation)
        live = [hit_s for hit_s in self._hits.get(key, []) if hit_s > now_s - 60]
        if len(live) >= rate_limit.per_minute:
            retry_after_s = live[-rate_limit.per_minute] + 60 - now_s
            self.observe_quota(Quota(agent_id, rate_limit, 0, retry_after_s))
            raise RateLimited(agent_id, rate_limit.operation, rate_limit.per_minute, retry_after_s)
        self._hits[key] = live = [*live, now_s]
        remaining = rate_limit.per_minute - len(live)
        self.observe_quota(Quota(agent_id, rate_limit, remaining, live[0] + 60 - now_s))

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        await self.ping()
        memory, _ = self.by_id.get(memory_id, (None, None))
        return memory if memory is not None and memory.agent_id == agent_id else None

    def add(self, memory: NewMemory, embedding: Embeddings, now: datetime) -> Memory:
        """Store the memory unless its id exists. Returns the memory stored under that id."""
        stored = Memory(
            id=memory.id,
            agent_id=memory.agent_id,
            user_id=memory.user_id,
            content=memory.content,
            importance=memory.importance,
            memory_type=memory.memory_type,
            metadata=memory.metadata,
            created_at=memory.created_at or now,
            updated_at=memory.updated_at or now,
            expires_at=memory.expires_at,
        )
        return self.by_id.setdefault(memory.id, (stored, embedding))[0]

    def put(self, memory: Memory) -> None:
        before, vector = self.by_id[memory.id]
        self.by_id[memory.id] = (memory, vector)
        if memory.superseded_by is None:
            self.superseded_at.pop(memory.id, None)
        elif before.superseded_by is None:
            self.superseded_at[memory.id] = self.now()

    def drop(self, memory_id: UUID) -> None:
        """Delete the memory, its history, and the answers to its changes."""
        agent_id = self.by_id[memory_id][0].agent_id
        self._drop(memory_id)
        self.drop_answers(agent_id, memory_id=memory_id)

    def _drop(self, memory_id: UUID) -> None:
        del self.by_id[memory_id]
        self.versions.pop(memory_id, None)
        self.superseded_at.pop(memory_id, None)
        self.uncondensable.discard(memory_id)

    def drop_answers(
        self, agent_id: str, *, memory_id: UUID | None = None, user_id: str | None = None
    ) -> None:
        """Drop the answers to changes of the agent's memory with this id, or of this user."""
        for key, (fingerprint, answer) in self._answers.items():
            if (
                isinstance(answer, Memory)
                and answer.agent_id == agent_id
                and (answer.id == memory_id or answer.user_id == user_id)
            ):
                self._answers[key] = (fingerprint, DeletedSince(str(answer.id)))

    async def first_answer(self, agent_id: str, key: WriteKey) -> Any:
        """What the write under the key answered; None if the key is unused. Raises KeyReused,
        DeletedSince."""
        await self.ping()
        fingerprint, answer = self._answers.get((agent_id, key.key), (key.fingerprint, None))
        if fingerprint != key.fingerprint:
            raise KeyReused(key.key)
        if isinstance(answer, DeletedSince):
            raise answer
        return answer

    def keep_answer(self, agent_id: str, key: WriteKey, answer: object) -> None:
        self._answers[agent_id, key.key] = (key.fingerprint, answer)

    def _expire(self, memory_id: UUID) -> None:
        memory, vector = self.by_id[memory_id]
        versions = self.versions.get(memory_id, [])
        self._drop(memory_id)
        if memory.superseded_by is None:
            assert memory.expires_at is not None
            last = Past(memory, vector, memory.expires_at, is_change=False)
            self.versions[memory_id] = [*versions, last]

    def erase_expired(self, memory_id: UUID, agent_id: str) -> bool:
        """Delete what is kept of an expired memory. Returns whether there was anything."""
        versions = self.versions.get(memory_id, [])
        is_kept = memory_id not in self.by_id and bool(versions)
        if is_kept and versions[0].memory.agent_id == agent_id:
            del self.versions[memory_id]
            return True
        return False

    def history(self, memory_id: UUID) -> list[MemoryVersion]:
        """The versions, from the first on."""
        changes = [past for past in self.versions.get(memory_id, []) if past.is_change]
        return [
            MemoryVersion(
                version=number,
                content=past.memory.content,
                importance=past.memory.importance,
                memory_type=past.memory.memory_type,
                metadata=past.memory.metadata,
                expires_at=past.memory.expires_at,
                written_at=past.memory.updated_at,
                replaced_at=past.replaced_at,
            )
            for number, past in enumerate(changes, 1)
        ]

    def as_of(self, time: datetime | None) -> list[tuple[Memory, Embeddings]]:
        """The memories of all scopes as they were at that time, superseded ones included."""
        if time is None:
            return list(self.by_id.values())
        rows = {
            id_: (memory, vector)
            for id_, (memory, vector) in self.by_id.items()
            if memory.created_at <= time
        }
        later = {id_ for id_, superseded_at in self.superseded_at.items() if superseded_at > time}
        later_summaries = {self.by_id[id_][0].superseded_by for id_ in later}
        for id_ in later & rows.keys():
            memory, vector = rows[id_]
            rows[id_] = (replace(memory, superseded_by=None, expires_at=None), vector)
        for id_, versions in self.versions.items():
            for past in reversed(versions):
                if past.replaced_at > time:
                    rows[id_] = (past.memory, past.vector)
        return [
            row for id_, row in rows.items()
            if id_ not in later_summaries and row[0].created_at <= time
        ]  # fmt: skip

    def sources_of(self, summary_id: UUID) -> list[Memory]:
        sources = (row[0] for row in self.by_id.values() if row[0].superseded_by == summary_id)
        return sorted(sources, key=lambda source: (source.created_at, source.id))
