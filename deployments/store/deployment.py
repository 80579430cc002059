"""The MemoryStore node: a replica's connection pool and its upkeep, around the repository."""

import asyncio
import contextlib
import os

from deployments.domain.errors import BadSetting, Unavailable
from deployments.metrics import StoreMetrics
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Pool, connect
from deployments.store.repository import PostgresMemoryStore
from deployments.store.settings import StoreSettings

_PURGE_INTERVAL_S = 60.0


class MemoryStore(PostgresMemoryStore):
    """The Postgres store as a Serve deployment: callable through its handle as it is.

    Starts while the database is away (its calls then raise Unavailable), but not on a database
    that it must not use: migrations are applied here too, since a graph on an existing cluster
    has no launcher to do it.
    """

    async def __init__(self, settings: StoreSettings) -> None:  # type: ignore[misc]  # Serve awaits it
        dsn = os.environ.get("DATABASE_URL")
        if not dsn:
            raise BadSetting("DATABASE_URL is not set where Ray runs: export it before `ray start`")
        super().__init__(Pool(dsn, settings), settings, StoreMetrics().done)
        with contextlib.suppress(Unavailable):
            connection = await connect(dsn, settings)
            try:
                await migrate(connection, read_migrations())
            finally:
                await connection.close()
        self._upkeep = asyncio.create_task(self._purge_regularly())

    async def _purge_regularly(self) -> None:
        while True:
            await asyncio.sleep(_PURGE_INTERVAL_S)
            with contextlib.suppress(Unavailable):
                await self.purge_rate_limits()

    async def close(self) -> None:
        self._upkeep.cancel()
        await self._pool.close()
