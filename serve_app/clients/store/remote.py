"""The MemoryStore's handle as the store's ports; declares which methods may be called again.

Reads are retried if their replica dies. So are writes that may be repeated: an insert's ids are the
caller's, an update sets values, and a summary whose answer was lost is not made again, because its
sources have changed. The rate limit does not count a second attempt, because it may have counted
the first. Deletions are not retried: a second one would report that the memory does not exist. Nor
are updates with a condition: the first attempt may have changed what the condition names. Writes
under a key are retried, because their first attempt's answer is kept; only to forget a scope takes
longer than an attempt may.
"""

from dataclasses import replace
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.domain.errors import Unavailable
from deployments.domain.ports.keyed_writes import KeyedWrites
from deployments.domain.ports.store import (
    BatchedInserts,
    BatchedSearches,
    BatchedStore,
    Generations,
    Health,
    Memories,
    Overview,
    Transfers,
)
from deployments.domain.ports.summaries import Condensing, Summaries
from deployments.domain.rate_limits import ObserveQuota
from deployments.store.settings import FORGET_TIMEOUT_S
from serve_app.clients.edge import Edge
from serve_app.clients.policies import Remote, once, retried, streamed


def drop_rate_limit(arguments: dict[str, Any]) -> None:
    arguments["rate_limit"] = None


def drop_rate_limits(arguments: dict[str, Any]) -> None:
    arguments["calls"] = [replace(call, rate_limit=None) for call in arguments["calls"]]


def retry_unconditional_update(arguments: dict[str, Any]) -> None:
    if arguments.get("condition") is not None:
        raise Unavailable("store")
    drop_rate_limit(arguments)


class RemoteHealth(Remote):
    ping = retried(Health.ping)


class RemoteGenerations(Remote):
    adopt_generation = retried(Generations.adopt_generation)


class RemoteInserts(Remote):
    insert = retried(BatchedInserts.insert, drop_rate_limit)
    insert_each = retried(BatchedInserts.insert_each, drop_rate_limits)
    insert_once = retried(BatchedInserts.insert_once)  # its transaction counts the write
    first_insert = retried(BatchedInserts.first_insert)


class RemoteSearches(Remote):
    search = retried(BatchedSearches.search, drop_rate_limit)
    search_each = retried(BatchedSearches.search_each, drop_rate_limits)


class RemoteMemories(Remote):
    get = retried(Memories.get)
    list_page = retried(Memories.list_page)
    update = retried(Memories.update, retry_unconditional_update)
    history = retried(Memories.history)
    delete = once(Memories.delete)
    forget = once(Memories.forget, FORGET_TIMEOUT_S)
    count = retried(Memories.count)


class RemoteKeyedWrites(Remote):
    update_once = retried(KeyedWrites.update_once)
    first_update = retried(KeyedWrites.first_update)
    delete_once = retried(KeyedWrites.delete_once)
    forget_once = once(KeyedWrites.forget_once, FORGET_TIMEOUT_S)


class RemoteSummaries(Remote):
    sources = retried(Summaries.sources)
    restore = once(Summaries.restore)


class RemoteTransfers(Remote):
    export = streamed(Transfers.export)
    existing_ids = retried(Transfers.existing_ids)
    insert_missing = retried(Transfers.insert_missing, drop_rate_limit)


class RemoteOverview(Remote):
    list_agents = retried(Overview.list_agents)
    list_users = retried(Overview.list_users)
    timeline = retried(Overview.timeline)


class RemoteCondensing(Remote):
    scopes_to_condense = retried(Condensing.scopes_to_condense)
    oldest_condensable = retried(Condensing.oldest_condensable)
    condense = retried(Condensing.condense)
    purge_superseded = retried(Condensing.purge_superseded)


def remote_store(
    handle: DeploymentHandle,
    timeout_s: float,
    observe_quota: ObserveQuota = lambda _quota: None,
) -> BatchedStore:
    """`observe_quota` is called with each agent's quota when calls that count return."""
    edge = Edge("store", handle, timeout_s, observe_quota=observe_quota)
    return BatchedStore(
        health=RemoteHealth(edge),
        generations=RemoteGenerations(edge),
        inserts=RemoteInserts(edge),
        searches=RemoteSearches(edge),
        memories=RemoteMemories(edge),
        keyed_writes=RemoteKeyedWrites(edge),
        summaries=RemoteSummaries(edge),
        transfers=RemoteTransfers(edge),
        overview=RemoteOverview(edge),
        condensing=RemoteCondensing(edge),
    )
