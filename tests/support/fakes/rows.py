"""The memories of the in-memory store, which all its ports share."""

import time
from collections.abc import Callable
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


class Rows:
    """The memories as dicts, with the operations that most ports need.

    Implements the Health and the Generations ports. `down` makes the whole store unavailable.
    """

    def __init__(self, now: Callable[[], datetime] = now) -> None:
        self.now = now
        self.down = False
        self.by_id: dict[UUID, tuple[Memory, Embeddings]] = {}
        self.versions: dict[UUID, list[MemoryVersion]] = {}
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
                self._drop(memory.id)

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
        self.by_id[memory.id] = (memory, self.by_id[memory.id][1])

    def drop(self, memory_id: UUID) -> None:
        """Delete the memory, its history, and the answers to its changes."""
        agent_id = self.by_id[memory_id][0].agent_id
        self._drop(memory_id)
        self.drop_answers(agent_id, memory_id=memory_id)

    def _drop(self, memory_id: UUID) -> None:
        del self.by_id[memory_id]
        self.versions.pop(memory_id, None)
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

    def sources_of(self, summary_id: UUID) -> list[Memory]:
        sources = (row[0] for row in self.by_id.values() if row[0].superseded_by == summary_id)
        return sorted(sources, key=lambda source: (source.created_at, source.id))
