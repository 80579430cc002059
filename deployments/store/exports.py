"""Exports: all of a scope, page by page, as it was at one moment."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from deployments.domain.errors import TooManyExports
from deployments.domain.types import ExportPage
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.settings import StoreSettings

_ROWS_AT_ONCE = 200  # of the largest memories, some 10 MB
_IDLE_S = 120.0
# Of a listing: no metadata, no times, and what was condensed, which comes after its summary.
_ALL = (None, None, None, True)


class Exports:
    """Each holds a connection and, on it, a transaction that sees one state of the database.

    It ends with the generator. A reader that asks for nothing for `idle_s` is taken for gone:
    Postgres itself ends the transaction and the connection then, whatever became of this process.
    """

    def __init__(
        self,
        pool: Pool,
        settings: StoreSettings,
        count: Callable[[str, int], None],
        idle_s: float = _IDLE_S,
    ) -> None:
        self._pool = pool
        self._count = count
        self._idle_s = idle_s
        self._at_once = max(1, settings.max_pool_size // 4)
        self._running: set[object] = set()

    async def pages(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """As the port's `export` says."""
        async with self._snapshot() as connection:
            of = "agent" if user_id is None else "user"
            scope = [agent_id] if user_id is None else [agent_id, user_id]
            total = await connection.fetchval(sql(f"count_of_{of}"), *scope, True)
            after: tuple[Any, Any] = (None, None)
            left = True
            while left:
                rows = await connection.fetch(
                    sql(f"list_of_{of}"), *scope, None, _ROWS_AT_ONCE, *after, *_ALL
                )
                memories = [memory_of(row) for row in rows]
                left = len(rows) == _ROWS_AT_ONCE
                if rows:
                    after = (memories[-1].created_at, memories[-1].id)
                self._count("export", len(memories))
                yield ExportPage(total, memories)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[Connection, None]:
        """A connection in a transaction that reads. Raises TooManyExports."""
        if len(self._running) >= self._at_once:
            raise TooManyExports(self._at_once)
        place = object()
        self._running.add(place)

        def leave(_connection: object) -> None:
            self._running.discard(place)

        try:
            async with self._pool.acquire() as connection:
                connection.add_termination_listener(leave)
                try:
                    async with connection.transaction(isolation="repeatable_read", readonly=True):
                        idle_ms = str(round(self._idle_s * 1_000))
                        await connection.execute(sql("bound_idle_transaction"), idle_ms)
                        yield connection
                finally:
                    with suppress(asyncpg.InterfaceError):  # it has been closed
                        connection.remove_termination_listener(leave)
        finally:
            leave(None)
