"""The graph's ingresses: replicas that call the other nodes and serve an ASGI application.

Each imports its application when it builds it, because the MCP SDK costs one second of CPU and
20 MiB in each process that imports it.
"""

import contextlib
import importlib.metadata

from starlette.applications import Starlette

from deployments.domain.errors import Unavailable
from deployments.runtime import node
from deployments.runtime.metrics import HttpMetrics, McpMetrics
from serve_app.clients import replicas
from serve_app.clients.wiring import Nodes, build_service
from serve_app.rest.metrics.exposition import Exposition
from serve_app.settings import Settings


class _Ingress:
    """The service over the other nodes. app.py decorates the subclasses; Serve calls
    `__serve_build_asgi_app__` in each replica."""

    def __init__(self, settings: Settings, nodes: Nodes) -> None:
        node.prepare(type(self).__name__)
        self._settings = settings
        self._embedder = nodes["Embedder"]
        self._service = build_service(settings, nodes)

    async def _wait_until_ready(self) -> None:
        await replicas.wait_for_replica(self._embedder, self._settings.request_timeout_s)
        # A wrong model must fail the deployment; an unavailable database only delays the check.
        with contextlib.suppress(Unavailable):
            await self._service.adopt_model()


class RestIngress(_Ingress):
    """Serves REST."""

    async def __serve_build_asgi_app__(self) -> Starlette:
        from serve_app.rest.asgi import build_rest_app

        await self._wait_until_ready()
        return build_rest_app(
            self._service,
            HttpMetrics(self._settings.metrics),
            Exposition(),
            self._settings.allowed_hosts,
            _version(),
        )


class McpIngress(_Ingress):
    """Serves MCP, with the nodes of the application that serves REST."""

    async def __serve_build_asgi_app__(self) -> Starlette:
        from serve_app.mcp.answering import ServiceBackend
        from serve_app.mcp.asgi import build_mcp_app, scope_of_request
        from serve_app.mcp.server import build_server

        await self._wait_until_ready()
        metrics, mcp = McpMetrics(self._settings.metrics), self._settings.mcp
        backend = ServiceBackend(self._service, metrics)
        server = build_server(backend, scope_of_request, _version())
        return build_mcp_app(server, metrics, mcp.allowed_hosts, mcp.allowed_origins, backend)


def _version() -> str:
    return importlib.metadata.version("memex-serve")
