"""`memex reindex`: sets right what the lexical arm stores, with the service running or not."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator

from tqdm import tqdm

from deployments.domain.errors import AlreadyRunning, BadSetting
from deployments.store.migrate import migrate, read_migrations
from deployments.store.pool import Pool
from deployments.store.repository import PostgresMemoryStore
from serve_app.local.folders import DataFolder
from serve_app.local.postgres import EmbeddedPostgres
from serve_app.settings import DATABASE_URL, Settings


def reindex(settings: Settings) -> None:
    """With a progress bar. Can be stopped at any time: the service, or the next run, goes on.

    Raises StartupError, Unavailable.
    """
    with _database(settings) as dsn:
        asyncio.run(_reindex(dsn, settings))
    print("memex: all words are up to date, and counted anew")


async def _reindex(dsn: str, settings: Settings) -> None:
    pool = Pool(dsn, settings.db, lambda connection: migrate(connection, read_migrations()))
    look = "memex: reindexing {bar:30} {n_fmt}/{total_fmt} memories, {remaining} left"
    try:
        with tqdm(total=0, bar_format=look, file=sys.__stderr__) as bar:

            def show(done: int, total: int) -> None:
                bar.total, bar.n = total, done
                bar.refresh()

            await PostgresMemoryStore(pool, settings.db, settings.search).reindex(show)
    finally:
        await pool.close()


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """Its address: the configured one, the running service's, or one started for this."""
    if dsn := os.environ.get(DATABASE_URL):
        yield dsn
        return
    folder = DataFolder(settings.data_dir)
    if not folder.postgres.exists():
        raise BadSetting(f"MEMEX_DATA_DIR: {folder.root} holds no memories")
    try:
        folder.open()
    except AlreadyRunning:
        yield EmbeddedPostgres(folder).dsn
        return
    with contextlib.ExitStack() as undo:
        undo.callback(folder.close)
        postgres = EmbeddedPostgres(folder)
        undo.callback(postgres.stop)
        postgres.start()
        yield postgres.dsn
