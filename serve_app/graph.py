"""The graph's nodes, in one table. app.py deploys them, the launcher prepares the models that they
load, and the doctor checks them.

A deployment is a row here and a folder; CONTRIBUTING.md has the steps to add one. Classes are named
by import path because most import Ray, which reads its settings from the environment on import.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.settings import Settings

MEMEX = "memex"
MEMEX_MCP = "memex-mcp"

Handles = Mapping[str, Any]
"""Handles by name of the deployed nodes before this one."""

Report = Callable[[str], None]


def _always(_settings: Settings) -> bool:
    return True


def _never(_settings: Settings) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Node:
    """One deployment. The profile sets its resources and replicas, under its name."""

    name: str
    module: str
    """The module of the class, which has the node's name."""
    arguments: Callable[[Settings, Handles], tuple[Any, ...]]
    """The class's arguments in each replica."""
    application: str = MEMEX
    is_wanted: Callable[[Settings], bool] = _always
    is_on_call: Callable[[Settings], bool] = _never
    """Whether it runs only for calls: it starts with a call and stops some time after the last."""
    is_ingress: bool = False
    prepare: Callable[[Settings, Report], None] | None = None
    """Loads the node's model, or downloads it, so that errors appear before the deployment."""

    def load(self) -> type:
        cls: type = getattr(importlib.import_module(self.module), self.name)
        return cls


def threads(settings: Settings, name: str) -> int:
    """One inference thread for each whole core of a replica's share, at least one."""
    actor: dict[str, Any] = settings.deployments.get(name, {}).get("ray_actor_options", {})
    return max(1, int(actor.get("num_cpus", 1)))


def _prepare_reranker(settings: Settings, report: Report) -> None:
    from deployments.reranker.cross_encoder import CrossEncoder  # takes a second to import

    report(f"loading {settings.reranker.model}, which is downloaded if missing")
    CrossEncoder(settings.reranker.model, settings.models_dir, 1)


# Each node comes after the nodes that it calls.
NODES: tuple[Node, ...] = (
    Node(
        "Embedder",
        "deployments.embedder.deployment",
        lambda settings, _handles: (
            settings.embedding,
            str(settings.models_dir),
            threads(settings, "Embedder"),
            settings.metrics,
        ),
    ),
    Node(
        "MemoryStore",
        "deployments.store.deployment",
        lambda settings, _handles: (
            settings.db,
            settings.search,
            settings.dedup,
            settings.metrics,
        ),
    ),
    Node(
        "Reranker",
        "deployments.reranker.deployment",
        lambda settings, _handles: (
            settings.reranker,
            str(settings.models_dir),
            threads(settings, "Reranker"),
            settings.metrics,
        ),
        is_wanted=lambda settings: bool(settings.reranker.model),
        prepare=_prepare_reranker,
    ),
    Node(
        "Summariser",
        "serve_app.workers.summariser",
        lambda settings, handles: (settings, handles["Embedder"], handles["MemoryStore"]),
        is_on_call=lambda settings: not settings.summarization.enabled,
    ),
    Node(
        "RestIngress",
        "serve_app.ingress",
        lambda settings, handles: (settings, handles),
        is_ingress=True,
    ),
    Node(
        "McpIngress",
        "serve_app.ingress",
        lambda settings, handles: (settings, handles),
        application=MEMEX_MCP,
        is_ingress=True,
    ),
)


def wanted_nodes(settings: Settings) -> list[Node]:
    """The nodes that these settings deploy."""
    return [node for node in NODES if node.is_wanted(settings)]
