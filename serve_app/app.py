"""Builds the applications from graph.py. Only this module decorates and binds deployments.

Without `from __future__ import annotations`, because Serve reads the builders' argument types.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.embedder.settings import EmbeddingSettings
from serve_app.graph import MEMEX, MEMEX_MCP, NODES, Handles, Node, wanted_nodes
from serve_app.settings import Settings, load_settings

_ON_CALL_AUTOSCALING = {"min_replicas": 0, "max_replicas": 1, "target_ongoing_requests": 4}


class AppArgs(BaseModel):
    """An application has no arguments in serve_config.yaml: settings come from the environment."""

    model_config = ConfigDict(extra="forbid")


def build_memex_app(args: AppArgs) -> Application:
    """The application memex: its nodes, of which the ingress serves REST."""
    settings = load_settings()
    bound: dict[str, Application] = {}
    for node in wanted_nodes(settings):
        if node.application == MEMEX:
            bound[node.name] = _bind(node, settings, dict(bound))
    return bound["RestIngress"]


class McpArgs(AppArgs):
    """Arguments of the MCP application."""

    graph: str = MEMEX
    """The application whose nodes it calls."""


def build_memex_mcp_app(args: McpArgs) -> Application:
    """The application memex-mcp: McpIngress, which calls the nodes of `args.graph`."""
    settings = load_settings()
    handles = {
        node.name: DeploymentHandle(node.name, args.graph)
        for node in wanted_nodes(settings)
        if node.application == MEMEX and not node.is_ingress
    }
    (ingress,) = (node for node in NODES if node.application == MEMEX_MCP)
    return _bind(ingress, settings, handles)


def build_embedder_app(settings: Settings, embedding: EmbeddingSettings) -> Application:
    """An application of one Embedder, for the model that memories are re-embedded with."""
    (embedder,) = (node for node in NODES if node.name == "Embedder")
    return _bind(embedder, settings.model_copy(update={"embedding": embedding}), {})


def _bind(node: Node, settings: Settings, handles: Handles) -> Application:
    cls = node.load()
    if node.is_ingress:
        cls = serve.ingress(None)(cls)
    options: dict[str, Any] = settings.deployments.get(node.name, {})
    deployment = serve.deployment(name=node.name, **options)(cls)
    if node.is_on_call(settings):
        deployment = deployment.options(
            num_replicas="auto", autoscaling_config=_ON_CALL_AUTOSCALING
        )
    return deployment.bind(*node.arguments(settings, handles))
