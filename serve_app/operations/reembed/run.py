"""A run: embeds every memory with the new model, builds the indexes and switches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol
from uuid import UUID

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from deployments.store.generations import reembedding
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Connection, Pool
from serve_app.operations.progress import Progress, progress_bar
from serve_app.settings import Settings

_POLL_INTERVAL_S = 0.5
_TRIES = 6
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_EMBEDDING = "embedding {bar:30} {n_fmt}/{total_fmt} memories, {rate_fmt}, {remaining} left"
_INDEXING = "indexing {bar:30} {n_fmt}/{total_fmt} memories, {elapsed}"


class Embeds(Protocol):
    """The part of an embedder that a run needs."""

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings: ...


class Run:
    """From the first embedding to the switch, over a connection that holds the lock."""

    def __init__(
        self,
        connection: Connection,
        dsn: str,
        settings: Settings,
        embedder: Embeds,
        identity: ModelIdentity,
        parallel: int,
    ) -> None:
        self._connection = connection
        self._dsn = dsn
        self._settings = settings
        self._embedder = embedder
        self._identity = identity
        self._parallel = parallel

    async def build(self) -> None:
        """Make all embeddings, except of memories added or changed meanwhile, and the indexes."""
        start = await reembedding.progress(self._connection)
        assert start is not None
        with progress_bar(_EMBEDDING, start.memories, unit=" memories") as progress:
            progress.start_here(start.done)
            async with self._pool() as pool:
                await self._catch_up(pool, progress.add)
        with progress_bar(_INDEXING, start.memories) as progress:
            watching = asyncio.create_task(self._show_indexed(progress, start.memories))
            try:
                await reembedding.index(self._connection, self._identity.dimensions)
            finally:
                watching.cancel()
                await asyncio.wait([watching])

    async def switch(self) -> None:
        """Embed the remaining memories and switch; retry until that succeeds."""
        pause_s = _FIRST_PAUSE_S
        async with self._pool() as pool:
            await self._catch_up(pool, lambda _stored: None)
            while not await reembedding.try_switch(self._connection, self._embed):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                await self._catch_up(pool, lambda _stored: None)

    async def _catch_up(self, pool: Pool, show: Callable[[int], object]) -> None:
        """Repeat passes until one finds at most `reembedding.LAST_ROWS` memories."""
        while await self._fill(pool, show) > reembedding.LAST_ROWS:
            pass

    async def _fill(self, pool: Pool, show: Callable[[int], object]) -> int:
        """One pass over the memories without an embedding, up to the newest; how many it found."""
        after: UUID | None = None
        found = 0
        at_end = False
        turn = asyncio.Lock()

        async def work() -> None:
            nonlocal after, found, at_end
            while True:
                async with turn:
                    if at_end:
                        return
                    async with pool.acquire() as connection:
                        page = await reembedding.missing(connection, after)
                    at_end = len(page) < reembedding.PAGE_ROWS
                    found += len(page)
                    after = page.ids[-1] if len(page) else after
                if len(page):
                    embeddings = await self._embed(page.contents)
                    async with pool.acquire() as connection:
                        show(await reembedding.store(connection, page, embeddings))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._parallel):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return found

    @contextlib.asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool]:
        bounds = {"min_pool_size": 1, "max_pool_size": self._parallel}
        pool = Pool(self._dsn, self._settings.db.model_copy(update=bounds))
        try:
            yield pool
        finally:
            await pool.close()

    async def _show_indexed(self, progress: Progress, memories: int) -> None:
        """Show how far the index is, until cancelled."""
        with contextlib.suppress(Unavailable):
            async with migrated_connection(self._dsn, self._settings) as connection:
                while True:
                    await asyncio.sleep(_POLL_INTERVAL_S)
                    progress.show(min(memories, await reembedding.indexed(connection)))

    async def _embed(self, texts: Sequence[str]) -> Embeddings:
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES - 1):
            try:
                return await self._embedder.embed(texts, "passage", self._identity)
            except Unavailable:  # a replica died, or has not started yet
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return await self._embedder.embed(texts, "passage", self._identity)


@contextlib.asynccontextmanager
async def migrated_connection(dsn: str, settings: Settings) -> AsyncIterator[Connection]:
    """One connection to the database, after all migrations are applied."""
    one = settings.db.model_copy(update={"min_pool_size": 1, "max_pool_size": 1})
    pool = Pool(dsn, one, lambda connection: migrate(connection, read_migrations()))
    try:
        async with pool.acquire() as connection:
            yield connection
    finally:
        await pool.close()
