"""The scopes in the vector index: those that were found too large to be scored whole.

A scope is listed first; from then on its new memories go into the index as they are written. A
background job adds its older memories. Until it has finished, searches score the scope whole.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.domain.errors import Unavailable
from deployments.runtime import logs
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.postgres.scope_pages import process_pages
from deployments.store.sql import sql

_logger = logging.getLogger(logs.NAME)

_PAGE_ROWS = 100

# Before a call writes this many memories to a scope, it checks the scope's size. The memories of a
# bulk load are then indexed as they are written, not all together after the first search.
_BULK_ROWS = 64

_PATIENCE_S = 300.0  # a filling waits this long for transactions before it logs a warning

_ListedScope = tuple[str, str, datetime]
"""An agent, a user, and when their scope was listed."""


@dataclass(slots=True)
class _Filling:
    """The filling of one scope, and when it began."""

    began_at: datetime
    """By the database's clock."""
    began_s: float
    """By `time.monotonic()`."""
    is_logged: bool = False
    """Whether the log has named the transaction that it waits for."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A scope of which the index has all memories."""

    entries: int
    """About how many memories of all scopes the index has."""
    has_sketches: bool
    """Whether each of the scope's memories has its sketches."""


class VectorIndex:
    """Lists scopes, and fills the index with the memories that they had before."""

    def __init__(self, exact_rows: int, patience_s: float = _PATIENCE_S) -> None:
        self._exact_rows = exact_rows
        self._patience_s = patience_s
        self._fillings: dict[_ListedScope, _Filling] = {}

    async def listing(self, connection: Connection, agent_id: str, user_id: str) -> Listing | None:
        """The listing of a large scope; None if the index does not have all of its memories. Lists
        the scope if it is not listed yet."""
        scope = {"agent_id": agent_id, "user_id": user_id}
        row = await connection.fetchrow(*sql.listed_scope(**scope))
        if row["is_filled"] is None:
            await connection.execute(*sql.list_scope(**scope))
        return Listing(row["entries"], row["has_sketches"]) if row["is_filled"] else None

    async def list_large(
        self, connection: Connection, scopes: Iterable[tuple[str, str]], min_rows: int = _BULK_ROWS
    ) -> None:
        """List the large scopes among those that are about to get `min_rows` memories or more.
        `scopes` has one entry for each memory."""
        # All writers use one order; otherwise two could deadlock.
        bulk = sorted(scope for scope, count in Counter(scopes).items() if count >= min_rows)
        if bulk:
            agent_ids, user_ids = zip(*bulk, strict=True)
            await connection.execute(
                *sql.list_large_scopes(
                    agent_ids=agent_ids, user_ids=user_ids, exact_rows=self._exact_rows
                )
            )

    async def fill(self, pool: Pool) -> None:
        """Add the memories that the index lacks of listed scopes. Many processes may call this at
        once. Raises Unavailable after it has tried every scope."""
        async with pool.acquire() as connection:
            scopes: list[_ListedScope] = [
                tuple(row) for row in await connection.fetch(*sql.scopes_to_fill())
            ]
        self._fillings = {
            scope: filling for scope, filling in self._fillings.items() if scope in scopes
        }
        failure: Unavailable | None = None
        for scope in scopes:
            try:
                await self._fill(pool, scope)
            except Unavailable as error:
                failure = error
        if failure is not None:
            raise failure

    async def _fill(self, pool: Pool, scope: _ListedScope) -> None:
        agent_id, user_id, listed_at = scope
        async with pool.acquire() as connection:
            filling = self._fillings.get(scope)
            is_first = filling is None
            if filling is None:
                now = await connection.fetchval(*sql.now())
                filling = self._fillings[scope] = _Filling(now, time.monotonic())
            # A writer that read the list before the scope was in it may not have committed yet. If
            # no such writer remains, this pass is the last.
            writer = await connection.fetchrow(*sql.earliest_writer(began_at=filling.began_at))
        if writer is not None:
            self._log(filling, writer)
        if is_first or writer is None:
            is_complete = await self._pass(pool, agent_id, user_id)
            if writer is None and is_complete:
                async with pool.acquire() as connection:
                    await connection.execute(
                        *sql.scope_is_filled(
                            agent_id=agent_id, user_id=user_id, listed_at=listed_at
                        )
                    )

    def _log(self, filling: _Filling, writer: Any) -> None:
        """Warn once for each scope, so that an operator can end the transaction that delays it."""
        if filling.is_logged or time.monotonic() - filling.began_s < self._patience_s:
            return
        filling.is_logged = True
        _logger.warning(
            "searches of a large scope are slow until a transaction ends that began at %s "
            "(Postgres process %d): the vector index may lack memories that it wrote",
            writer["xact_start"].isoformat(timespec="seconds"),
            writer["pid"],
        )

    async def _pass(self, pool: Pool, agent_id: str, user_id: str) -> bool:
        """Index the scope's memories. False if some were left out because their rows were
        locked."""
        return not await process_pages(pool, sql.fill_index, agent_id, user_id, _PAGE_ROWS)
