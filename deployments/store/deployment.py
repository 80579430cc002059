"""The MemoryStore node: a replica's connection pool and its upkeep, around the repository."""

import asyncio
import contextlib
import logging
import os

import asyncpg

from deployments.domain.errors import BadSetting, Unavailable
from deployments.metrics import StoreMetrics
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Pool
from deployments.store.repository import PostgresMemoryStore
from deployments.store.settings import StoreSettings

_PURGE_INTERVAL_S = 60.0
_logger = logging.getLogger("ray.serve.memex")


class MemoryStore(PostgresMemoryStore):
    """The Postgres store as a Serve deployment: callable through its handle as it is.

    Starts while the database is away (its calls then raise Unavailable), but not on a database
    that it must not use. Migrations are applied before the first connection is handed out, since
    a graph on an existing cluster has no launcher to do it.
    """

    async def __init__(self, settings: StoreSettings) -> None:  # type: ignore[misc]  # Serve awaits it
        dsn = os.environ.get("DATABASE_URL")
        if not dsn:
            raise BadSetting("DATABASE_URL is not set where Ray runs: export it before `ray start`")
        pool = Pool(dsn, settings, prepare=_migrate)
        super().__init__(pool, settings, StoreMetrics().done)
        with contextlib.suppress(Unavailable):
            await pool.open()
        self._upkeep = asyncio.create_task(self._purge_regularly())

    async def _purge_regularly(self) -> None:
        while True:
            await asyncio.sleep(_PURGE_INTERVAL_S)
            try:
                await self.purge_rate_limits()
            except Exception:
                _logger.warning("the rate limit's old counters were not purged", exc_info=True)


async def _migrate(connection: asyncpg.Connection) -> None:
    await migrate(connection, read_migrations())
