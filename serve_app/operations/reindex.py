"""`memex reindex`: sets right what the lexical arm stores, with the service running or not."""

import asyncio

from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.store import build_store
from serve_app.operations import database
from serve_app.operations.progress import progress_bar
from serve_app.settings import Settings


def reindex(settings: Settings) -> None:
    """With a progress bar. Can be stopped at any time: the service, or the next run, goes on.

    Raises StartupError, Unavailable.
    """
    with database.reached(settings) as dsn:
        asyncio.run(_reindex(dsn, settings))
    print("memex: all words are up to date, and counted anew")


async def _reindex(dsn: str, settings: Settings) -> None:
    pool = Pool(dsn, settings.db, lambda connection: migrate(connection, read_migrations()))
    layout = "reindexing {bar:30} {n_fmt}/{total_fmt} memories, {remaining} left"
    try:
        with progress_bar(layout) as progress:
            await build_store(pool, settings.db, settings.search).upkeep.reindex(progress.show)
    finally:
        await pool.close()
