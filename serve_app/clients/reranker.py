"""The Reranker's handle as its port: never waited for longer than a search can wait."""

from ray.serve.handle import DeploymentHandle

from deployments.domain.ports.reranking import Reranker
from serve_app.clients.edge import Edge
from serve_app.clients.policies import Remote, once


class RemoteReranker(Remote):
    """The Reranker port.

    A search is complete without it and waits only so long: no call is made twice, and a late one is
    cancelled, so that its replica does not go on with work that nobody waits for.
    """

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        super().__init__(Edge("reranker", handle, timeout_s, cancel_late=True))

    scores = once(Reranker.scores)
