"""What keeps the store in order without a caller asking for it: terms renewed and counted, the
index of vectors filled, expired rows purged."""

from collections.abc import Callable

from deployments.domain.errors import BadSetting
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.vector_index.index import VectorIndex
from deployments.store.vector_index.sketches import add_sketches

_PURGED_AT_ONCE = 1_000


class StoreUpkeep:
    """Each method may run in many processes at once. All raise Unavailable."""

    def __init__(
        self,
        pool: Pool,
        terms: TermsUpkeep,
        index: VectorIndex,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._terms = terms
        self._index = index
        self._count = count

    async def renew_terms(self) -> None:
        """Renew terms that an older lexicon made, unless a newer one is in use."""
        async with self._pool.acquire() as connection:
            await self._terms.adopt(connection)
            while await self._terms.is_in_use(connection) and await self._terms.renew(connection):
                pass

    async def fold_frequencies(self) -> None:
        """Add the changes that writes have made to the terms' frequencies."""
        async with self._pool.acquire() as connection:
            while await self._terms.fold(connection):
                pass

    async def fill_vector_index(self) -> None:
        """Add the memories that scopes had before they were found to be large, and missing
        sketches."""
        try:
            await self._index.fill(self._pool)
        finally:
            await add_sketches(self._pool)

    async def reindex(self, progress: Callable[[int, int], None]) -> None:
        """Renew all outdated terms, then count every frequency again; writes wait for the count.

        `progress` is called with how many memories of how many are done. Raises BadSetting if the
        settings are not those that the database's terms are made with.
        """
        async with self._pool.acquire() as connection:
            if not await self._terms.is_in_use(connection):
                raise BadSetting(
                    "MEMEX_SEARCH_LANGUAGE or MEMEX_SEARCH_BM25_… are not what the service runs "
                    "with: set them alike, or start the service with these"
                )
            left = total = await self._terms.outdated(connection)
            progress(0, total)
            while renewed := await self._terms.renew(connection):
                left = max(0, left - renewed)
                progress(total - left, total)
            await self._terms.recount(connection)
        progress(total, total)

    async def purge_expired(self) -> None:
        """Delete expired memories. No statement has seen them since they expired."""
        async with self._pool.acquire() as connection:
            while purged := await connection.fetchval(*sql.purge_expired(max_rows=_PURGED_AT_ONCE)):
                self._count("expire", purged)

    async def purge_idempotency_keys(self) -> None:
        """Delete the keys that are too old to be compared with."""
        async with self._pool.acquire() as connection:
            await connection.execute(*sql.purge_idempotency_keys())

    async def purge_rate_limits(self) -> None:
        """Delete the counters of agents that made no call in the last minute."""
        async with self._pool.acquire() as connection:
            await connection.execute(*sql.purge_rate_limits())
