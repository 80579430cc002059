"""Ports for condensing memories: of the store, and of the summariser."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from deployments.domain.memories import Memory
from deployments.domain.summaries import Condensation, PassReport, ScopeToCondense, Source


class Summaries(Protocol):
    """Summaries and their sources, for callers of the service."""

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        """The memories that a summary was condensed from, oldest first; empty for any other memory.
        None if the agent has no such memory."""
        ...

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        """Delete a summary and restore its sources; return them, oldest first. They are not
        condensed again. None if the agent has no such memory. Raises NotASummary."""
        ...


class Condensing(Protocol):
    """What the summariser needs from the store."""

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        """The next `limit` scopes after `after` (agent and user) that have memories to condense,
        ordered by agent and user. A scope is due if these are more than `threshold`."""
        ...

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        """Up to `limit` memories that may be condensed, oldest first; none unless there are more
        than `threshold`."""
        ...

    async def condense(self, condensation: Condensation) -> Memory | None:
        """Store the summary and hide its sources in one transaction. None, with nothing changed, if
        a source was changed, deleted or condensed since it was read. Raises GenerationRetired."""
        ...

    async def purge_superseded(self, before: datetime) -> int:
        """Delete the memories that were condensed before that time, but not their summaries; return
        how many were deleted."""
        ...


class Summariser(Protocol):
    """Condenses the memories that are due, in this process or another. Raises Unavailable."""

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        """Make one pass over all scopes, over one agent's, or over one scope; it ends after
        `budget_s`."""
        ...
