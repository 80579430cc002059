"""The Summariser's handle as its port."""

from ray.serve.handle import DeploymentHandle

from deployments.domain.summaries import PassReport
from serve_app.clients.edge import Call, Edge


class RemoteSummariser:
    """The Summariser port. A pass may exceed its budget by `timeout_s`."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = Edge("summariser", handle, timeout_s)
        self._timeout_s = timeout_s

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        call = Call("run", (agent_id, user_id, budget_s))
        report: PassReport = await self._edge.once(call, budget_s + self._timeout_s)
        return report
