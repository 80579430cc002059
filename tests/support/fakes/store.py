"""All ports of the store over dicts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from deployments.domain.overview import CountBounds
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import ObserveQuota
from tests.support.fakes.inserts import InMemoryInserts
from tests.support.fakes.keyed_writes import InMemoryKeyedWrites
from tests.support.fakes.memories import InMemoryMemories
from tests.support.fakes.overview import InMemoryOverview
from tests.support.fakes.rows import Rows, now
from tests.support.fakes.searches import InMemorySearches
from tests.support.fakes.summaries import InMemorySummaries
from tests.support.fakes.transfers import InMemoryTransfers


@dataclass(frozen=True)
class InMemoryStore(BatchedStore):
    """Every port of the store; `rows.down` makes it unavailable."""

    rows: Rows


def in_memory_store(
    now: Callable[[], datetime] = now,
    bounds: CountBounds = CountBounds(),
    observe_quota: ObserveQuota = lambda _quota: None,
) -> InMemoryStore:
    rows = Rows(now)
    rows.observe_quota = observe_quota
    inserts = InMemoryInserts(rows)
    memories = InMemoryMemories(rows)
    summaries = InMemorySummaries(rows, inserts)
    return InMemoryStore(
        health=rows,
        generations=rows,
        inserts=inserts,
        searches=InMemorySearches(rows),
        memories=memories,
        keyed_writes=InMemoryKeyedWrites(rows, memories),
        summaries=summaries,
        condensing=summaries,
        transfers=InMemoryTransfers(rows, memories, inserts),
        overview=InMemoryOverview(rows, bounds),
        rows=rows,
    )
