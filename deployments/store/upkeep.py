"""Upkeep of the store, by background jobs: renew and count terms, fill the vector index, purge
expired rows."""

from collections.abc import Callable
from datetime import timedelta

from deployments.domain.errors import BadSetting
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.vector_index.index import VectorIndex
from deployments.store.vector_index.sketches import add_sketches

_PURGE_ROWS = 1_000


class StoreUpkeep:
    """Each method may run in many processes at once. All raise Unavailable."""

    def __init__(
        self,
        pool: Pool,
        terms: TermsUpkeep,
        index: VectorIndex,
        count: Callable[[str, int], None],
        *,
        expired_retention: timedelta,
    ) -> None:
        self._pool = pool
        self._terms = terms
        self._index = index
        self._count = count
        self._expired_retention = expired_retention

    async def renew_terms(self) -> None:
        """Renew the terms that an older lexicon made, unless a newer lexicon is in use."""
        async with self._pool.acquire() as connection:
            await self._terms.adopt(connection)
            while await self._terms.is_in_use(connection) and await self._terms.renew(connection):
                pass

    async def fold_frequencies(self) -> None:
        """Add the changes that writes recorded to the document frequencies."""
        async with self._pool.acquire() as connection:
            while await self._terms.fold(connection):
                pass

    async def fill_vector_index(self) -> None:
        """Add the memories that scopes had before they were found to be large; add missing
        sketches."""
        try:
            await self._index.fill(self._pool)
        finally:
            await add_sketches(self._pool)

    async def reindex(self, progress: Callable[[int, int], None]) -> None:
        """Renew all outdated terms, then count every document frequency again. Writes wait while
        the count runs.

        `progress` is called with how many memories are renewed, and the total. Raises BadSetting if
        the database's terms are made with other settings.
        """
        async with self._pool.acquire() as connection:
            if not await self._terms.is_in_use(connection):
                raise BadSetting(
                    "MEMEX_SEARCH_LANGUAGE or MEMEX_SEARCH_BM25_… differ from the service's "
                    "settings: use the service's, or restart the service with these"
                )
            remaining = total = await self._terms.outdated(connection)
            progress(0, total)
            while renewed := await self._terms.renew(connection):
                remaining = max(0, remaining - renewed)
                progress(total - remaining, total)
            await self._terms.recount(connection)
        progress(total, total)

    async def purge_expired(self) -> None:
        """Delete expired memories, and what was kept of those that expired longer ago than the
        retention. Only searches as of an earlier time have returned them since they expired."""
        bounds = {"retention": self._expired_retention, "max_rows": _PURGE_ROWS}
        async with self._pool.acquire() as connection:
            while purged := await connection.fetchval(*sql.purge_expired(**bounds)):
                self._count("expire", purged)
            while await connection.fetchval(*sql.purge_kept(**bounds)):
                pass

    async def purge_idempotency_keys(self) -> None:
        """Delete the write keys that are too old to be compared."""
        async with self._pool.acquire() as connection:
            await connection.execute(*sql.purge_idempotency_keys())

    async def purge_rate_limits(self) -> None:
        """Delete the rate limit counters of agents that made no call in the last minute."""
        async with self._pool.acquire() as connection:
            await connection.execute(*sql.purge_rate_limits())
