"""The MemoryStore node: a replica's connection pool and its upkeep, around the repository."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable

import asyncpg

from deployments.domain.errors import BadSetting, Unavailable
from deployments.metrics import StoreMetrics
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Pool
from deployments.store.repository import PostgresMemoryStore
from deployments.store.settings import Dedup, SearchSettings, StoreSettings

_PURGE_INTERVAL_S = 60.0
_TERMS_INTERVAL_S = 5.0
_logger = logging.getLogger("ray.serve.memex")


class MemoryStore(PostgresMemoryStore):
    """The Postgres store as a Serve deployment: callable through its handle as it is.

    Starts while the database is away (its calls then raise Unavailable), but not on a database
    that it must not use. Migrations are applied before the first connection is handed out, since
    a graph on an existing cluster has no launcher to do it.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: StoreSettings, search: SearchSettings, dedup: Dedup
    ) -> None:
        dsn = os.environ.get("DATABASE_URL")
        if not dsn:
            raise BadSetting("DATABASE_URL is not set where Ray runs: export it before `ray start`")
        pool = Pool(dsn, settings, prepare=_migrate)
        super().__init__(pool, settings, search, StoreMetrics().done, dedup)
        with contextlib.suppress(Unavailable):
            await pool.open()
        self._upkeep = [
            asyncio.create_task(_regularly(_PURGE_INTERVAL_S, self.purge_rate_limits)),
            asyncio.create_task(_regularly(_PURGE_INTERVAL_S, self.purge_expired)),
            asyncio.create_task(_regularly(_PURGE_INTERVAL_S, self.purge_idempotency_keys)),
            asyncio.create_task(_regularly(_TERMS_INTERVAL_S, self.renew_terms)),
            asyncio.create_task(_regularly(_TERMS_INTERVAL_S, self.fold_frequencies)),
        ]


async def _regularly(interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await work()
        except Exception:  # the next time may go better
            _logger.warning("%s failed", work.__name__, exc_info=True)


async def _migrate(connection: asyncpg.Connection) -> None:
    await migrate(connection, read_migrations())
