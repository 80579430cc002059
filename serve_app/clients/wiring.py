"""Builds an ingress replica's service over clients of the other nodes."""

import functools
from collections.abc import Mapping

from ray.serve.handle import DeploymentHandle

from deployments.domain.ports.embedding import BatchedEmbedder, Embedder
from deployments.domain.ports.store import BatchedStore, Store
from deployments.runtime.metrics import EdgeMetrics, count_cpu
from serve_app.clients.coalescer import Bounds
from serve_app.clients.embedding import deployed
from serve_app.clients.embedding.by_model import EmbedderByModel
from serve_app.clients.embedding.cached import CachedEmbedder
from serve_app.clients.embedding.coalesced import CoalescedEmbedder
from serve_app.clients.embedding.remote import RemoteEmbedder
from serve_app.clients.reranker import RemoteReranker
from serve_app.clients.store.coalesced import coalesced_store
from serve_app.clients.store.remote import remote_store
from serve_app.clients.summariser import RemoteSummariser
from serve_app.services.memories import MemoryService
from serve_app.services.rate_quotas import RateQuotas
from serve_app.services.reranking import Reranking
from serve_app.settings import EdgeSettings, Settings

Nodes = Mapping[str, DeploymentHandle]
"""The handles of the deployed nodes, by name."""


def build_service(settings: Settings, nodes: Nodes) -> MemoryService:
    """The service, with its own coalescers and cache. Call it only once in a replica, because it
    registers metrics."""
    timeout_s, metrics = settings.request_timeout_s, EdgeMetrics(settings.metrics)
    count_cpu(settings.metrics)
    by_model = embedder_by_model(nodes["Embedder"], timeout_s, metrics)
    quotas = RateQuotas()
    store = remote_store(nodes["MemoryStore"], timeout_s, quotas.record)
    reranker, summariser = nodes.get("Reranker"), nodes.get("Summariser")
    return MemoryService(
        _embedder(settings.edge, by_model, metrics),
        _store(settings.edge, store, metrics),
        writes_per_minute=settings.rate_limit.writes_per_minute,
        searches_per_minute=settings.rate_limit.searches_per_minute,
        quotas=quotas,
        reranking=None if reranker is None else _reranking(settings, reranker),
        summariser=None if summariser is None else RemoteSummariser(summariser, timeout_s),
        observe_hits=metrics.observe_results,
        lists_agents=settings.list_agents,
    )


def embedder_by_model(
    handle: DeploymentHandle, timeout_s: float, metrics: EdgeMetrics | None = None
) -> EmbedderByModel:
    """The graph's own embedder, by its handle, and embedders in applications of their own."""
    remote = RemoteEmbedder(handle, timeout_s)
    find = functools.partial(deployed.find, timeout_s=timeout_s)
    if metrics is None:
        return EmbedderByModel(remote, find)
    return EmbedderByModel(remote, find, metrics.count_embedding_error)


def _embedder(edge: EdgeSettings, inner: BatchedEmbedder, metrics: EdgeMetrics) -> Embedder:
    coalesced = CoalescedEmbedder(
        inner,
        _bounds(edge),
        functools.partial(metrics.observe_batch, "embedder"),
        functools.partial(metrics.count_shed, "embedder"),
    )
    cache_bytes = edge.cache_mib * 1024 * 1024
    return CachedEmbedder(
        coalesced, cache_bytes, observe_hits=metrics.count_hits, observe_misses=metrics.count_misses
    )


def _store(edge: EdgeSettings, inner: BatchedStore, metrics: EdgeMetrics) -> Store:
    return coalesced_store(
        inner,
        _bounds(edge),
        functools.partial(metrics.observe_batch, "store"),
        functools.partial(metrics.count_shed, "store"),
    )


def _bounds(edge: EdgeSettings) -> Bounds:
    return Bounds(
        max_in_flight=edge.calls_in_flight,
        max_batch=edge.max_batch,
        max_waiting=edge.max_waiting,
        max_wait_s=edge.max_wait_ms / 1_000,
    )


def _reranking(settings: Settings, handle: DeploymentHandle) -> Reranking:
    budget_s = settings.reranker.budget_ms / 1_000
    return Reranking(RemoteReranker(handle, budget_s), settings.reranker.top_n)
