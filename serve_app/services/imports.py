"""The outcome of each memory of an import."""

from collections.abc import Collection, Sequence
from uuid import UUID

from deployments.domain.memories import ImportOutcome, NewMemory


class OutcomesById:
    """The outcomes of memories whose ids may repeat: only the first memory of an id is stored."""

    def __init__(self, memories: Sequence[NewMemory], known: Collection[UUID]) -> None:
        """`known`: which of the ids of the memories and their summaries the agent already has."""
        self._memories = memories
        self._outcomes = dict.fromkeys(known, ImportOutcome.EXISTS)
        self._missing: dict[UUID, NewMemory] = {}
        summaries = {memory.id for memory in memories} | set(known)
        for memory in memories:
            if memory.superseded_by not in (None, *summaries):
                self._outcomes.setdefault(memory.id, ImportOutcome.ORPHANED)
            elif memory.id not in known:
                self._missing.setdefault(memory.id, memory)

    def missing(self) -> list[NewMemory]:
        """The memories to store."""
        return list(self._missing.values())

    def add(self, memories: Sequence[NewMemory], outcomes: Sequence[ImportOutcome]) -> None:
        """Record the outcomes of memories that were to be stored, in their order."""
        ids = (memory.id for memory in memories)
        self._outcomes |= zip(ids, outcomes, strict=True)

    def in_order(self) -> list[ImportOutcome]:
        """One outcome for each memory. If an id was stored, its later memories are EXISTS."""
        outcomes = dict(self._outcomes)
        ordered = []
        for memory in self._memories:
            ordered.append(outcomes[memory.id])
            if outcomes[memory.id] is ImportOutcome.STORED:
                outcomes[memory.id] = ImportOutcome.EXISTS
        return ordered
