"""Ports of condensing memories: the store's side, and the summariser."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from deployments.domain.memories import Memory
from deployments.domain.summaries import Condensation, PassReport, ScopeToCondense, Source


class Summaries(Protocol):
    """Summaries and their sources, for callers of the service."""

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        """The memories a summary was made of, oldest first; empty for any other memory. None if the
        agent has no such memory."""
        ...

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        """Undo a summary: delete it and show its sources again, oldest first; they are not
        condensed again. None if the agent has no such memory. Raises NotASummary."""
        ...


class Condensing(Protocol):
    """What the summariser needs of the store."""

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        """The next `limit` scopes, ordered by agent and user, that have memories to condense."""
        ...

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        """Up to `limit` memories, oldest first; none unless there are more than `threshold`."""
        ...

    async def condense(self, condensation: Condensation) -> Memory | None:
        """Store the summary and hide its sources in one transaction. None, with nothing changed, if
        a source has changed or gone since it was read. Raises GenerationRetired."""
        ...

    async def purge_superseded(self, before: datetime) -> int:
        """Delete the memories that were condensed before then and keep their summaries; how many
        were deleted."""
        ...


class Summariser(Protocol):
    """Condenses the memories that are due, wherever it runs. Raises Unavailable."""

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        """One pass over all scopes, over the agent's, or over one; ends after `budget_s`."""
        ...
