"""The health check: does the database answer?"""

from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql


class PoolHealth:
    """Implements the Health port."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ping(self) -> None:
        async with self._pool.acquire() as connection:
            await connection.fetchval(*sql.ping())
