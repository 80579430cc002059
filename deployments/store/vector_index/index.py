"""Which scopes are in the index of vectors: those that were found too large to be scored whole.

A scope is listed first; from then on its new memories go into the index as they are written. Those
it had before are added in the background, and until that is done searches score the scope whole.
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
from deployments.store.postgres.scope_pages import rows_left
from deployments.store.sql import sql

_logger = logging.getLogger(logs.NAME)

_PAGE_ROWS = 100

# Before so many memories are written at once, the size of their scope is checked: a load of many
# goes into the index as it comes, instead of all of it when the first search comes.
_MANY = 64

_PATIENCE_S = 300.0  # with others' transactions, before the log mentions them

_ListedScope = tuple[str, str, datetime]
"""An agent, a user, and when their scope was listed."""


@dataclass(slots=True)
class _Filling:
    """The filling of one scope: since when, by the database's clock and by ours."""

    began_at: datetime
    began_s: float
    is_logged: bool = False
    """Whether the log says what it waits for."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A scope of which the index has all memories."""

    entries: int
    """About how many memories the index has, of all scopes."""
    has_sketches: bool
    """Whether each of the scope's memories has its own."""


class VectorIndex:
    """Lists scopes, and fills the index with the memories they had before."""

    def __init__(self, exact_rows: int, patience_s: float = _PATIENCE_S) -> None:
        self._exact_rows = exact_rows
        self._patience_s = patience_s
        self._begun: dict[_ListedScope, _Filling] = {}

    async def listing(self, connection: Connection, agent_id: str, user_id: str) -> Listing | None:
        """The listing of a large scope; None if the index does not have all of its memories. A
        scope that is not listed yet is listed then."""
        scope = {"agent_id": agent_id, "user_id": user_id}
        row = await connection.fetchrow(*sql.listed_scope(**scope))
        if row["is_filled"] is None:
            await connection.execute(*sql.list_scope(**scope))
        return Listing(row["entries"], row["has_sketches"]) if row["is_filled"] else None

    async def list_large(
        self, connection: Connection, scopes: Iterable[tuple[str, str]], least: int = _MANY
    ) -> None:
        """List those scopes that are large, among those about to get `least` memories or more.
        `scopes` has one entry for each memory."""
        # In one order for all writers, or two could wait for each other.
        many = sorted(scope for scope, count in Counter(scopes).items() if count >= least)
        if many:
            agent_ids, user_ids = zip(*many, strict=True)
            await connection.execute(
                *sql.list_large_scopes(
                    agent_ids=agent_ids, user_ids=user_ids, exact_rows=self._exact_rows
                )
            )

    async def fill(self, pool: Pool) -> None:
        """Add what listed scopes lack. Safe from many processes at once. Raises Unavailable after
        it has tried all of them."""
        async with pool.acquire() as connection:
            scopes: list[_ListedScope] = [
                tuple(row) for row in await connection.fetch(*sql.scopes_to_fill())
            ]
        self._begun = {scope: filling for scope, filling in self._begun.items() if scope in scopes}
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
            filling = self._begun.get(scope)
            is_first = filling is None
            if filling is None:
                now = await connection.fetchval(*sql.now())
                filling = self._begun[scope] = _Filling(now, time.monotonic())
            # A writer that read the list before the scope was in it may not have committed yet.
            # When none is left, the next pass is the last.
            writer = await connection.fetchrow(*sql.earliest_writer(began_at=filling.began_at))
        if writer is not None:
            self._log(filling, writer)
        if is_first or writer is None:
            had_all = await self._pass(pool, agent_id, user_id)
            if writer is None and had_all:
                async with pool.acquire() as connection:
                    await connection.execute(
                        *sql.scope_is_filled(
                            agent_id=agent_id, user_id=user_id, listed_at=listed_at
                        )
                    )

    def _log(self, filling: _Filling, writer: Any) -> None:
        """Once for each scope: an operator can end the transaction that holds it up."""
        if filling.is_logged or time.monotonic() - filling.began_s < self._patience_s:
            return
        filling.is_logged = True
        _logger.warning(
            "a large scope is scored whole, slowly, until a transaction ends that is open since %s "
            "(Postgres process %d): its index may lack what that has written",
            writer["xact_start"].isoformat(timespec="seconds"),
            writer["pid"],
        )

    async def _pass(self, pool: Pool, agent_id: str, user_id: str) -> bool:
        """Whether no memory had to be left out."""
        return not await rows_left(pool, sql.fill_index, agent_id, user_id, _PAGE_ROWS)
