"""`memex reindex`: updates the stored terms and recounts them; the service may run."""

import asyncio

from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.store import build_store
from serve_app.operations import database
from serve_app.operations.progress import progress_bar
from serve_app.settings import Settings


def reindex(settings: Settings) -> None:
    """Reindex with a progress bar. It can be stopped at any time; the service or the next run
    continues.

    Raises StartupError, Unavailable.
    """
    with database.shared(settings) as dsn:
        asyncio.run(_reindex(dsn, settings))
    print("memex: all terms are up to date and recounted")


async def _reindex(dsn: str, settings: Settings) -> None:
    pool = Pool(dsn, settings.db, lambda connection: migrate(connection, read_migrations()))
    layout = "reindexing {bar:30} {n_fmt}/{total_fmt} memories, {remaining} left"
    try:
        with progress_bar(layout) as progress:
            await build_store(pool, settings.db, settings.search).upkeep.reindex(progress.show)
    finally:
        await pool.close()
