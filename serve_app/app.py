"""Builds the applications: the only place that decorates and binds deployments.

No `from __future__ import annotations` here: Serve reads the builders' argument types.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.embedder.deployment import Embedder
from deployments.embedder.settings import EmbeddingSettings
from deployments.reranker.deployment import Reranker
from deployments.store.deployment import MemoryStore
from serve_app.ingress import McpIngress, RestIngress
from serve_app.settings import Settings, load_settings
from serve_app.summariser import Summariser


class AppArgs(BaseModel):
    """Arguments of an application in serve_config.yaml: none; settings come by environment."""

    model_config = ConfigDict(extra="forbid")


def build_memex_app(args: AppArgs) -> Application:
    """RestIngress → Embedder, MemoryStore, Summariser (→ both) and, where one is set, Reranker."""
    settings = load_settings()
    embedder = _decorated(Embedder, settings).bind(
        settings.embedding,
        str(settings.models_dir),
        _threads(settings, "Embedder"),
        settings.metrics,
    )
    store = _decorated(MemoryStore, settings).bind(
        settings.db, settings.search, settings.dedup, settings.metrics
    )
    reranker = None
    if settings.reranker.model:
        reranker = _decorated(Reranker, settings).bind(
            settings.reranker,
            str(settings.models_dir),
            _threads(settings, "Reranker"),
            settings.metrics,
        )
    summariser = _summariser(settings).bind(settings, embedder, store)
    ingress = serve.ingress(None)(RestIngress)
    return _decorated(ingress, settings, "RestIngress").bind(
        settings, embedder, store, reranker, summariser
    )


def build_embedder_app(settings: Settings, embedding: EmbeddingSettings) -> Application:
    """An Embedder alone, of another model than the graph's: memories are being moved to it."""
    return _decorated(Embedder, settings).bind(
        embedding, str(settings.models_dir), _threads(settings, "Embedder")
    )


class McpArgs(AppArgs):
    """Arguments of the MCP application."""

    graph: str = "memex"
    """The application whose nodes it uses."""


def build_memex_mcp_app(args: McpArgs) -> Application:
    """McpIngress, over the Embedder, the MemoryStore and the Reranker of the other application."""
    settings = load_settings()
    ingress = serve.ingress(None)(McpIngress)
    return _decorated(ingress, settings, "McpIngress").bind(
        settings,
        DeploymentHandle("Embedder", args.graph),
        DeploymentHandle("MemoryStore", args.graph),
        DeploymentHandle("Reranker", args.graph) if settings.reranker.model else None,
    )


def _summariser(settings: Settings) -> serve.Deployment:
    """Where it does nothing by itself it starts when it is called, and ends a while after."""
    deployment = _decorated(Summariser, settings)
    if settings.summarization.enabled:
        return deployment
    on_call = {"min_replicas": 0, "max_replicas": 1, "target_ongoing_requests": 4}
    return deployment.options(num_replicas="auto", autoscaling_config=on_call)


def _decorated(node: type, settings: Settings, name: str | None = None) -> serve.Deployment:
    options: dict[str, Any] = settings.deployments.get(name or node.__name__, {})
    return serve.deployment(name=name or node.__name__, **options)(node)


def _threads(settings: Settings, name: str) -> int:
    """One inference thread for each whole core of a replica's share, at least one."""
    actor: dict[str, Any] = settings.deployments.get(name, {}).get("ray_actor_options", {})
    return max(1, int(actor.get("num_cpus", 1)))
