"""The Summariser's handle as its port, and the store's as what a Summariser stands on."""

from datetime import datetime

from ray.serve.handle import DeploymentHandle

from deployments.domain.summaries import Condensation, PassReport, ScopeToCondense, Source
from deployments.domain.types import Memory, ModelIdentity
from serve_app.clients.edge import Edge


class RemoteSummaryStore:
    """The SummaryStore port over its handle. All may be made twice: a summary whose answer was lost
    is not made again, since its sources are no longer as they were."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = Edge("store", handle, timeout_s)

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        generation: int = await self._edge.call_again("adopt_generation", identity)
        return generation

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        scopes: list[ScopeToCondense] = await self._edge.call_again(
            "scopes_to_condense", after, threshold, limit
        )
        return scopes

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        sources: list[Source] = await self._edge.call_again(
            "oldest_condensable", agent_id, user_id, threshold, limit
        )
        return sources

    async def condense(self, condensation: Condensation) -> Memory | None:
        summary: Memory | None = await self._edge.call_again("condense", condensation)
        return summary

    async def purge_superseded(self, before: datetime) -> int:
        purged: int = await self._edge.call_again("purge_superseded", before)
        return purged


class RemoteSummariser:
    """The Summariser port over its handle. A pass takes as long as it is given, and some more."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = Edge("summariser", handle, timeout_s)
        self._timeout_s = timeout_s

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        report: PassReport = await self._edge.call_once(
            "run", agent_id, user_id, budget_s, timeout_s=budget_s + self._timeout_s
        )
        return report
