"""What becomes of each memory of an import."""

from collections.abc import Collection, Sequence
from uuid import UUID

from deployments.domain.memories import Imported, NewMemory


class OutcomesById:
    """Of memories that may name an id more than once: only the first of an id is stored."""

    def __init__(self, memories: Sequence[NewMemory], known: Collection[UUID]) -> None:
        """`known`: the ids of those memories and of their summaries that the agent has."""
        self._memories = memories
        self._outcomes = dict.fromkeys(known, Imported.THERE)
        self._missing: dict[UUID, NewMemory] = {}
        summaries = {memory.id for memory in memories} | set(known)
        for memory in memories:
            if memory.superseded_by not in (None, *summaries):
                self._outcomes.setdefault(memory.id, Imported.ORPHANED)
            elif memory.id not in known:
                self._missing.setdefault(memory.id, memory)

    def missing(self) -> list[NewMemory]:
        """Those that are to be stored."""
        return list(self._missing.values())

    def add(self, memories: Sequence[NewMemory], outcomes: Sequence[Imported]) -> None:
        ids = (memory.id for memory in memories)
        self._outcomes |= zip(ids, outcomes, strict=True)

    def in_order(self) -> list[Imported]:
        """One for each memory; a later memory of an id that was stored is already there."""
        outcomes = dict(self._outcomes)
        ordered = []
        for memory in self._memories:
            ordered.append(outcomes[memory.id])
            if outcomes[memory.id] is Imported.STORED:
                outcomes[memory.id] = Imported.THERE
        return ordered
