"""The graph's nodes, in one table. app.py deploys them, the launcher prepares what they load, and
the doctor looks for them.

A deployment is a row here and a folder of its own; CONTRIBUTING.md has the steps. Classes are named
by import path, since most import Ray, which reads its settings from the environment when it is
imported.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.settings import Settings

MEMEX = "memex"
MEMEX_MCP = "memex-mcp"

Handles = Mapping[str, Any]
"""The handles of the nodes before this one, by name; only those that are wanted."""

Report = Callable[[str], None]


def _always(_settings: Settings) -> bool:
    return True


def _never(_settings: Settings) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Node:
    """One deployment. Its resources and replicas stand in the profile, under its name."""

    name: str
    module: str
    """Where the class of that name is."""
    arguments: Callable[[Settings, Handles], tuple[Any, ...]]
    """What the class is called with in each replica."""
    application: str = MEMEX
    is_wanted: Callable[[Settings], bool] = _always
    is_on_call: Callable[[Settings], bool] = _never
    """Whether it starts when it is called, and ends a while later."""
    is_ingress: bool = False
    prepare: Callable[[Settings, Report], None] | None = None
    """Loads or downloads what it needs, before it is deployed: whatever is wrong is reported
    there."""

    def load(self) -> type:
        loaded: type = getattr(importlib.import_module(self.module), self.name)
        return loaded


def threads(settings: Settings, name: str) -> int:
    """One inference thread for each whole core of a replica's share, at least one."""
    actor: dict[str, Any] = settings.deployments.get(name, {}).get("ray_actor_options", {})
    return max(1, int(actor.get("num_cpus", 1)))


def _prepare_reranker(settings: Settings, report: Report) -> None:
    from deployments.reranker.cross_encoder import CrossEncoder  # takes a second to import

    report(f"loading {settings.reranker.model}, downloaded where it is not here yet")
    CrossEncoder(settings.reranker.model, settings.models_dir, 1)


# A node comes after those it calls.
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
    """Those that these settings deploy."""
    return [node for node in NODES if node.is_wanted(settings)]
