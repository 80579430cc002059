"""The Reranker's handle as its port, with the deadline of a search."""

from ray.serve.handle import DeploymentHandle

from deployments.domain.ports.reranking import Reranker
from serve_app.clients.edge import Edge
from serve_app.clients.policies import Remote, once


class RemoteReranker(Remote):
    """The Reranker port.

    A search is complete without it and waits for at most `timeout_s`. So no call is retried, and a
    late call is cancelled in its replica, because no search waits for the result.
    """

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        super().__init__(Edge("reranker", handle, timeout_s, cancel_late=True))

    scores = once(Reranker.scores)
