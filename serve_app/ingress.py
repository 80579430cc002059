"""The graph's fronts: replicas that hold the handles and serve an ASGI application.

Each imports what it serves where it builds it: the SDK of MCP alone takes a second of CPU and
20 MiB, in each process that would have it for nothing.
"""

import contextlib
import importlib.metadata

from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from deployments import node
from deployments.domain.errors import Unavailable
from deployments.exposition import Exposition
from deployments.metrics import HttpMetrics, McpMetrics
from serve_app import replicas
from serve_app.edges import build_service
from serve_app.service import MemoryService
from serve_app.settings import Settings


class RestIngress:
    """Serves REST. Decorated in app.py; Serve asks it for its application in the replica."""

    def __init__(
        self,
        settings: Settings,
        embedder: DeploymentHandle,
        store: DeploymentHandle,
        reranker: DeploymentHandle | None,
        summariser: DeploymentHandle,
    ) -> None:
        node.prepare("RestIngress")
        self._settings = settings
        self._embedder = embedder
        self._service = build_service(settings, embedder, store, reranker, summariser)

    async def __serve_build_asgi_app__(self) -> Starlette:
        from serve_app.rest.asgi import build_rest_app

        await replicas.wait_for_one(self._embedder, self._settings.request_timeout_s)
        await _adopt_model(self._service)
        return build_rest_app(
            self._service,
            HttpMetrics(self._settings.metrics),
            Exposition(),
            self._settings.allowed_hosts,
            _version(),
        )


class McpIngress:
    """Serves MCP, over the nodes of the application that REST is in."""

    def __init__(
        self,
        settings: Settings,
        embedder: DeploymentHandle,
        store: DeploymentHandle,
        reranker: DeploymentHandle | None = None,
    ) -> None:
        node.prepare("McpIngress")
        self._settings = settings
        self._embedder = embedder
        self._service = build_service(settings, embedder, store, reranker)

    async def __serve_build_asgi_app__(self) -> Starlette:
        from serve_app.mcp.answering import ServiceBackend
        from serve_app.mcp.asgi import build_mcp_app, scope_of_request
        from serve_app.mcp.server import build_server

        await replicas.wait_for_one(self._embedder, self._settings.request_timeout_s)
        await _adopt_model(self._service)
        metrics, mcp = McpMetrics(self._settings.metrics), self._settings.mcp
        backend = ServiceBackend(self._service, metrics)
        server = build_server(backend, scope_of_request, _version())
        return build_mcp_app(server, metrics, mcp.allowed_hosts, mcp.allowed_origins, backend)


async def _adopt_model(service: MemoryService) -> None:
    # A wrong model must fail the deployment; a database that is away only delays the check.
    with contextlib.suppress(Unavailable):
        await service.adopt_model()


def _version() -> str:
    return importlib.metadata.version("memex-serve")
