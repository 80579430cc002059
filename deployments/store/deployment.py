"""The MemoryStore node: a replica's connection pool and its jobs, around the store's
repositories."""

import asyncio
import contextlib
import os

import asyncpg

from deployments.domain.errors import BadSetting, Unavailable
from deployments.domain.ports.store import BatchedStore
from deployments.runtime import node
from deployments.runtime.metrics import StoreMetrics, count_cpu
from deployments.runtime.periodic import run_periodically
from deployments.store.jobs import jobs
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.settings import Dedup, SearchSettings, StoreSettings
from deployments.store.store import PostgresStore, build_store


@node.answering_by_parts(BatchedStore)
class MemoryStore:
    """The Postgres store as a Serve deployment: its handle has the methods of all ports.

    It starts while the database is away (its calls then raise Unavailable), but not on a database
    that it must not use. Migrations are applied before the first connection is handed out, since a
    graph on an existing cluster has no launcher to do it.
    """

    parts: PostgresStore

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
        self.parts = build_store(pool, settings, search, dedup=dedup, count=counted.done)
        with contextlib.suppress(Unavailable):
            await pool.open()

        def observe_pool() -> None:
            counted.pooled(*pool.sizes(), settings.max_pool_size)

        self._jobs = [
            asyncio.create_task(run_periodically(job))
            for job in jobs(self.parts.upkeep, observe_pool)
        ]


async def _migrate(connection: asyncpg.Connection) -> None:
    await migrate(connection, read_migrations())
