"""Port for changes and deletions under a write key; Inserts has those of new memories."""

from typing import Protocol
from uuid import UUID

from deployments.domain.embeddings import Embeddings
from deployments.domain.entity_tags import Precondition
from deployments.domain.memories import Memory, MemoryPatch, WriteKey
from deployments.domain.rate_limits import RateLimit


class KeyedWrites(Protocol):
    """Each call is made once: if its key was used in the last 24 hours, nothing is changed and the
    first call's answer is returned, whatever was done since. A call that raises an error, or that
    finds no memory, leaves its key unused. All raise KeyInUse, KeyReused."""

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
        """As Memories' `update`. Raises DeletedSince if the first call's memory was deleted or its
        scope was forgotten: then its content is kept nowhere. That it has expired is no matter."""
        ...

    async def first_update(self, agent_id: str, key: WriteKey) -> Memory | None:
        """What `update_once` returned first; None if the key was not used. Raises DeletedSince."""
        ...

    async def delete_once(
        self,
        agent_id: str,
        memory_id: UUID,
        key: WriteKey,
        condition: Precondition | None = None,
    ) -> bool:
        """As Memories' `delete`."""
        ...

    async def forget_once(self, agent_id: str, user_id: str, key: WriteKey) -> int:
        """As Memories' `forget`."""
        ...
