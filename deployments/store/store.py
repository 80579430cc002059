"""The store on Postgres: its repositories, which share one pool of connections."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from deployments.domain.overview import CountBounds
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import ObserveQuota
from deployments.store.generations.active import GenerationRepository
from deployments.store.ids.renaming import IdRenaming
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.memories.changes import MemoryChanges
from deployments.store.memories.inserts import InsertRepository
from deployments.store.memories.keyed_writes import KeyedWriteRepository
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.memories.repository import MemoryRepository
from deployments.store.memories.writer import MemoryWriter
from deployments.store.overview.repository import OverviewRepository
from deployments.store.postgres.health import PoolHealth
from deployments.store.postgres.pool import Pool
from deployments.store.searches.large import LargeSearch
from deployments.store.searches.population import ExpectedRows, Populations, expected_rows
from deployments.store.searches.repository import SearchRepository
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import Dedup, SearchSettings, StoreSettings
from deployments.store.summaries.repository import SummaryRepository
from deployments.store.transfers import exports
from deployments.store.transfers.exports import Exports
from deployments.store.transfers.repository import TransferRepository
from deployments.store.upkeep import StoreUpkeep
from deployments.store.vector_index.index import VectorIndex


@dataclass(frozen=True)
class PostgresStore(BatchedStore):
    """Every port of the store, its upkeep, the renaming of ids, and the connections they share."""

    searches: SearchRepository
    upkeep: StoreUpkeep
    ids: IdRenaming
    pool: Pool


@dataclass(frozen=True, slots=True)
class Tuning:
    """Values that no setting changes. Tests change them, to reach every path with little data."""

    search: SearchTuning = SearchTuning()
    expected_rows: ExpectedRows = expected_rows
    counts: CountBounds = CountBounds()
    export_page_rows: int = exports.PAGE_ROWS
    export_idle_s: float = exports.IDLE_S


def build_store(
    pool: Pool,
    settings: StoreSettings,
    search: SearchSettings = SearchSettings(),
    *,
    dedup: Dedup = "off",
    count: Callable[[str, int], None] = lambda _operation, _memories: None,
    observe_quota: ObserveQuota = lambda _quota: None,
    tuning: Tuning = Tuning(),
) -> PostgresStore:
    """Connect the repositories. `count` is called with an operation's name and the number of
    memories it affected, `observe_quota` for each call that a rate limit counted."""
    lexicon = Lexicon(search)
    terms = TermsUpkeep(lexicon)
    index = VectorIndex(settings.exact_search_rows)
    writer = MemoryWriter(lexicon, terms, index, dedup)
    changes = MemoryChanges(lexicon, terms)
    rate_limits = RateLimits(observe_quota)
    populations = Populations(tuning.search, tuning.expected_rows)
    large = LargeSearch(settings, index, tuning.search, populations)
    summaries = SummaryRepository(pool, writer, terms, count)
    export_pages = Exports(
        pool, settings, count, page_rows=tuning.export_page_rows, idle_s=tuning.export_idle_s
    )
    return PostgresStore(
        health=PoolHealth(pool),
        generations=GenerationRepository(pool),
        inserts=InsertRepository(pool, writer, terms, rate_limits, count),
        searches=SearchRepository(
            pool, settings, lexicon, large, tuning.search, rate_limits, count
        ),
        memories=MemoryRepository(pool, changes, rate_limits, count),
        keyed_writes=KeyedWriteRepository(pool, changes, terms, rate_limits, count),
        summaries=summaries,
        condensing=summaries,
        transfers=TransferRepository(pool, export_pages, writer, rate_limits, count),
        overview=OverviewRepository(pool, tuning.counts),
        upkeep=StoreUpkeep(
            pool,
            terms,
            index,
            count,
            expired_retention=timedelta(hours=settings.expired_retention_hours),
        ),
        ids=IdRenaming(pool, lexicon, terms),
        pool=pool,
    )
