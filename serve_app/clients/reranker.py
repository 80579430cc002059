"""The Reranker's handle as its port: never waited for longer than a search can."""

from collections.abc import Sequence

from ray.serve.handle import DeploymentHandle

from serve_app.clients.edge import Edge


class RemoteReranker:
    """The Reranker port over its handle.

    A search is complete without it and waits only so long: no call is made twice, and one that is
    late is cancelled, so that its replica does not go on with what nobody waits for.
    """

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = Edge("reranker", handle, timeout_s, cancel_late=True)

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        scores: list[float] = await self._edge.call_once("scores", query, texts)
        return scores
