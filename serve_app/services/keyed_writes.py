"""Writes under a key: each is made once, and answered as the first time if it is repeated.

A caller asks for the first answer before it checks what depends on the time, such as an expiry in
the future, because a repetition may come later. The first answer needs no embedding and does not
count as a write.
"""

from collections.abc import Awaitable, Sequence
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.errors import MemoryNotFound
from deployments.domain.memories import Memory, MemoryPatch, NewMemory, WriteKey
from deployments.domain.ports.store import Store
from deployments.domain.rate_limits import RateLimit
from deployments.runtime.active_model import Embedded
from serve_app.services.limited_calls import LimitedCalls


class KeyedWrites:
    """As MemoryService's methods of the same names. All raise KeyReused; those that write also
    raise KeyInUse."""

    def __init__(self, store: Store, calls: LimitedCalls) -> None:
        self._store = store
        self._calls = calls

    async def first_add(self, memories: Sequence[NewMemory], key: WriteKey) -> list[Memory] | None:
        """What `add` returned first for these memories; None if the key was not used."""
        return await self._store.inserts.first_insert(memories, key)

    async def add(self, memories: Sequence[NewMemory], key: WriteKey) -> list[Memory]:
        """The memories are of one agent."""
        limit = self._calls.rate_limit("write", memories[0].agent_id)

        async def store(embedded: Embedded, _uncounted: RateLimit | None) -> list[Memory]:
            # A write under a key that is refused was not counted, so a second call counts it.
            return await self._store.inserts.insert_once(
                memories, embedded.embeddings, embedded.generation, limit, key
            )

        contents = [memory.content for memory in memories]
        return await self._calls.with_embeddings(contents, "passage", limit, store)

    async def first_update(self, agent_id: str, key: WriteKey) -> Memory | None:
        """What `update` returned first; None if the key was not used. Raises DeletedSince."""
        return await self._store.keyed_writes.first_update(agent_id, key)

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        condition: Precondition | None,
        key: WriteKey,
    ) -> Memory:
        """Raises MemoryNotFound, DeletedSince."""
        limit = self._calls.rate_limit("write", agent_id)

        def update(
            embedding: Embeddings | None, generation: int | None
        ) -> Awaitable[Memory | None]:
            return self._store.keyed_writes.update_once(
                agent_id, memory_id, patch, embedding, generation, limit, key, condition
            )

        async def store(embedded: Embedded, _uncounted: RateLimit | None) -> Memory | None:
            return await update(embedded.embeddings[0], embedded.generation)

        if patch.content is None:
            with self._calls.recording():
                memory = await update(None, None)
        else:
            memory = await self._calls.with_embeddings([patch.content], "passage", limit, store)
        if memory is None:
            raise MemoryNotFound(str(memory_id))
        return memory

    async def delete(
        self, agent_id: str, memory_id: UUID, condition: Precondition | None, key: WriteKey
    ) -> None:
        """Raises MemoryNotFound."""
        deletion = self._store.keyed_writes.delete_once(agent_id, memory_id, key, condition)
        if not await deletion:
            raise MemoryNotFound(str(memory_id))

    async def forget(self, agent_id: str, user_id: str, key: WriteKey) -> int:
        return await self._store.keyed_writes.forget_once(agent_id, user_id, key)
