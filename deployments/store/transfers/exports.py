"""Exports: all memories of an agent or scope, page by page, as they were at one moment."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg

from deployments.domain.errors import TooManyExports
from deployments.domain.memories import ExportPage, ListFilters, PageKey
from deployments.store.memories.listing import count, list_statement
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.postgres.rows import memory_of
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql

PAGE_ROWS = 200
"""About 10 MB if the memories have the largest size."""

IDLE_S = 120.0
"""Time that a reader may take for a page."""


class Exports:
    """Runs up to a quarter of `max_pool_size` exports at once, at least one.

    Each export holds a connection and a transaction that sees one state of the database. Both are
    released when the generator ends. If the reader requests no page for `idle_s`, Postgres ends the
    transaction and the connection, even if this process hangs.
    """

    def __init__(
        self,
        pool: Pool,
        settings: StoreSettings,
        count: Callable[[str, int], None],
        *,
        page_rows: int = PAGE_ROWS,
        idle_s: float = IDLE_S,
    ) -> None:
        self._pool = pool
        self._count = count
        self._page_rows = page_rows
        self._idle_s = idle_s
        self._max_exports = max(1, settings.max_pool_size // 4)
        self._running: set[object] = set()

    async def pages(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        """See `Transfers.export`."""
        filters = ListFilters(include_superseded=True)
        async with self._snapshot() as connection:
            total = await count(connection, agent_id, user_id, include_superseded=True)
            after: PageKey | None = None
            has_next = True
            while has_next:
                rows = await connection.fetch(
                    *list_statement(agent_id, user_id, filters, after, self._page_rows)
                )
                memories = [memory_of(row) for row in rows]
                has_next = len(rows) == self._page_rows
                if rows:
                    after = PageKey(memories[-1].created_at, memories[-1].id)
                self._count("export", len(memories))
                yield ExportPage(total, memories)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[Connection, None]:
        """A connection in a read-only transaction. Raises TooManyExports."""
        if len(self._running) >= self._max_exports:
            raise TooManyExports(self._max_exports)
        export = object()
        self._running.add(export)

        def end(_connection: object) -> None:
            self._running.discard(export)

        try:
            async with self._pool.acquire() as connection:
                connection.add_termination_listener(end)
                try:
                    async with connection.transaction(isolation="repeatable_read", readonly=True):
                        idle_ms = str(round(self._idle_s * 1_000))
                        await connection.execute(*sql.bound_idle_transaction(idle_ms=idle_ms))
                        yield connection
                finally:
                    with suppress(asyncpg.InterfaceError):  # the connection is closed
                        connection.remove_termination_listener(end)
        finally:
            end(None)
