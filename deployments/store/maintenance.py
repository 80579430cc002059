"""What the store does without being called, and what commands have it do: words renewed and
counted, the index of vectors filled, and what is over purged."""

from collections.abc import Callable

from deployments.domain.errors import BadSetting
from deployments.store.pool import Pool
from deployments.store.queries import sql
from deployments.store.sketches import add_sketches
from deployments.store.upkeep import TermsUpkeep
from deployments.store.vector_index import VectorIndex

_PURGED_AT_ONCE = 1_000


class PostgresMaintenance:
    """The part of the store that keeps it in order; the repository has the calls."""

    _pool: Pool
    _terms: TermsUpkeep
    _index: VectorIndex
    _count: Callable[[str, int], None]

    async def renew_terms(self) -> None:
        """Make anew what an older lexicon made, unless a newer one is in use."""
        async with self._pool.acquire() as connection:
            await self._terms.adopt(connection)
            while await self._terms.is_in_use(connection) and await self._terms.renew(connection):
                pass

    async def fold_frequencies(self) -> None:
        """Add up what writes have brought to the terms' frequencies."""
        async with self._pool.acquire() as connection:
            while await self._terms.fold(connection):
                pass

    async def fill_vector_index(self) -> None:
        """Add the memories that large scopes had before they were found to be large, and what
        sketches they lack."""
        try:
            await self._index.fill(self._pool)
        finally:
            await add_sketches(self._pool)

    async def reindex(self, progress: Callable[[int, int], None]) -> None:
        """Renew all outdated terms, then count every frequency anew; writes wait for the count.

        `progress` is told how many memories of how many are done. Raises BadSetting where the
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
        """Delete what is over. No statement has seen it since then."""
        async with self._pool.acquire() as connection:
            while purged := await connection.fetchval(sql("purge_expired"), _PURGED_AT_ONCE):
                self._count("expire", purged)

    async def purge_idempotency_keys(self) -> None:
        """Drop those that no call is compared with any more."""
        async with self._pool.acquire() as connection:
            await connection.execute(sql("purge_idempotency_keys"))

    async def purge_rate_limits(self) -> None:
        """Drop the counters of agents that made no call in the last minute."""
        async with self._pool.acquire() as connection:
            await connection.execute(sql("purge_rate_limits"))
