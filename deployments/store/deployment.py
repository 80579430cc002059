"""The MemoryStore node: the store's repositories, with a replica's connection pool and jobs."""

import asyncio
import contextlib
import os

import asyncpg

from deployments.domain.errors import BadSetting, Unavailable
from deployments.domain.ports.store import BatchedStore
from deployments.runtime import node, quota_reports
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

    A replica starts even if the database does not answer; its calls then raise Unavailable. It does
    not start on a database that it must not use. It applies migrations before its first statement,
    because a graph on an existing cluster has no launcher that could.
    """

    parts: PostgresStore

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: StoreSettings, search: SearchSettings, dedup: Dedup, metrics: bool = True
    ) -> None:
        node.prepare("MemoryStore")
        dsn = os.environ.get("DATABASE_URL")
        if not dsn:
            raise BadSetting(
                "DATABASE_URL is not set in Ray's environment: export it before `ray start`"
            )
        store_metrics = StoreMetrics(metrics)
        count_cpu(metrics)
        observe = store_metrics.observe_query if metrics else None
        pool = Pool(dsn, settings, prepare=_migrate, observe=observe)
        self.parts = build_store(
            pool,
            settings,
            search,
            dedup=dedup,
            count=store_metrics.count,
            observe_quota=quota_reports.report,
        )
        with contextlib.suppress(Unavailable):
            await pool.open()

        def observe_pool() -> None:
            store_metrics.set_pool(*pool.sizes(), settings.max_pool_size)

        self._jobs = [
            asyncio.create_task(run_periodically(job))
            for job in jobs(self.parts.upkeep, observe_pool)
        ]


async def _migrate(connection: asyncpg.Connection) -> None:
    await migrate(connection, read_migrations())
