"""What an ingress replica stands on: the service, over the edges to the other nodes."""

import functools

from ray.serve.handle import DeploymentHandle

from deployments.domain.ports import BatchedEmbedder, BatchedMemoryStore, Embedder, MemoryStore
from deployments.metrics import EdgeMetrics, count_cpu
from serve_app import embedder_apps
from serve_app.clients.embedder import RemoteEmbedder
from serve_app.clients.reranker import RemoteReranker
from serve_app.clients.store import RemoteStore
from serve_app.clients.summaries import RemoteSummariser
from serve_app.coalesced_embedder import CoalescedEmbedder
from serve_app.coalesced_store import CoalescedStore
from serve_app.coalescing import Bounds
from serve_app.embedders import Embedders
from serve_app.embedding_cache import CachedEmbedder
from serve_app.reranking import Reranking
from serve_app.service import MemoryService
from serve_app.settings import EdgeSettings, Settings
from serve_app.watched_embedder import WatchedEmbedder


def build_service(
    settings: Settings,
    embedder: DeploymentHandle,
    store: DeploymentHandle,
    reranker: DeploymentHandle | None,
    summariser: DeploymentHandle | None = None,
) -> MemoryService:
    """With edges and a cache of its own. Call it once in a replica: it makes instruments."""
    timeout_s, metrics = settings.request_timeout_s, EdgeMetrics(settings.metrics)
    count_cpu(settings.metrics)
    watched = WatchedEmbedder(embedders(embedder, timeout_s), metrics.embedding_failed)
    return MemoryService(
        _embedder(settings.edge, watched, metrics),
        _store(settings.edge, RemoteStore(store, timeout_s), metrics),
        settings.rate_limit.writes_per_minute,
        settings.rate_limit.searches_per_minute,
        reranking=None if reranker is None else _reranking(settings, reranker),
        summariser=None if summariser is None else RemoteSummariser(summariser, timeout_s),
        found=metrics.found,
        lists_agents=settings.list_agents,
    )


def embedders(home: DeploymentHandle, timeout_s: float) -> Embedders:
    """The graph's own, and any that was brought up beside it."""
    find = functools.partial(embedder_apps.find, timeout_s=timeout_s)
    return Embedders(RemoteEmbedder(home, timeout_s), find)


def _embedder(edge: EdgeSettings, remote: BatchedEmbedder, metrics: EdgeMetrics) -> Embedder:
    """What was embedded lately is here; the rest travels in few calls."""
    coalesced = CoalescedEmbedder(
        remote,
        _bounds(edge),
        functools.partial(metrics.called, "embedder"),
        functools.partial(metrics.shed, "embedder"),
    )
    cache_bytes = edge.cache_mib * 1024 * 1024
    return CachedEmbedder(coalesced, cache_bytes, hit=metrics.hit, miss=metrics.missed)


def _store(edge: EdgeSettings, remote: BatchedMemoryStore, metrics: EdgeMetrics) -> MemoryStore:
    return CoalescedStore(
        remote,
        _bounds(edge),
        functools.partial(metrics.called, "store"),
        functools.partial(metrics.shed, "store"),
    )


def _bounds(edge: EdgeSettings) -> Bounds:
    return Bounds(edge.calls_in_flight, edge.max_batch, edge.max_waiting, edge.max_wait_ms / 1_000)


def _reranking(settings: Settings, handle: DeploymentHandle) -> Reranking:
    budget_s = settings.reranker.budget_ms / 1_000
    return Reranking(RemoteReranker(handle, budget_s), settings.reranker.top_n)
