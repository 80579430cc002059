"""The MemoryStore node: a replica's connection pool and its upkeep, around the repository."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable

import asyncpg

from deployments import logs, node
from deployments.domain.errors import BadSetting, Unavailable
from deployments.domain.ports import BatchedMemoryStore, SummaryStore
from deployments.metrics import StoreMetrics, count_cpu
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Pool
from deployments.store.repository import PostgresMemoryStore
from deployments.store.settings import Dedup, SearchSettings, StoreSettings

_POOL_INTERVAL_S = 1.0
_PURGE_INTERVAL_S = 60.0
_TERMS_INTERVAL_S = 5.0
_INDEX_INTERVAL_S = 5.0
_logger = logging.getLogger(logs.NAME)


@node.answering(BatchedMemoryStore, SummaryStore)
class MemoryStore(PostgresMemoryStore):
    """The Postgres store as a Serve deployment: callable through its handle as it is.

    Starts while the database is away (its calls then raise Unavailable), but not on a database
    that it must not use. Migrations are applied before the first connection is handed out, since
    a graph on an existing cluster has no launcher to do it.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: StoreSettings, search: SearchSettings, dedup: Dedup, metrics: bool = True
    ) -> None:
        node.prepare("MemoryStore")
        dsn = os.environ.get("DATABASE_URL")
        if not dsn:
            raise BadSetting("DATABASE_URL is not set where Ray runs: export it before `ray start`")
        counted = StoreMetrics(metrics)
        count_cpu(metrics)
        observe = counted.queried if metrics else None
        pool = Pool(dsn, settings, prepare=_migrate, observe=observe)
        super().__init__(pool, settings, search, counted.done, dedup)
        with contextlib.suppress(Unavailable):
            await pool.open()

        async def look_at_pool() -> None:
            counted.pooled(*pool.sizes(), settings.max_pool_size)

        self._upkeep = [
            asyncio.create_task(_regularly(_POOL_INTERVAL_S, look_at_pool)),
            asyncio.create_task(_regularly(_PURGE_INTERVAL_S, self.purge_rate_limits)),
            asyncio.create_task(_regularly(_PURGE_INTERVAL_S, self.purge_expired)),
            asyncio.create_task(_regularly(_PURGE_INTERVAL_S, self.purge_idempotency_keys)),
            asyncio.create_task(_regularly(_TERMS_INTERVAL_S, self.renew_terms)),
            asyncio.create_task(_regularly(_TERMS_INTERVAL_S, self.fold_frequencies)),
            asyncio.create_task(_regularly(_INDEX_INTERVAL_S, self.fill_vector_index)),
        ]


async def _regularly(interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await work()
        except Unavailable as error:  # the next time may go better
            _logger.warning("%s failed: %s", work.__name__, error)
        except Exception:
            _logger.warning("%s failed", work.__name__, exc_info=True)


async def _migrate(connection: asyncpg.Connection) -> None:
    await migrate(connection, read_migrations())
