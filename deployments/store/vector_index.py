"""Which scopes are in the index of vectors: those that were found too large to be scored whole.

A scope is listed first; from then on its new memories go into the index as they are written. Those
of before are added in the background, and searches score the scope whole until that is done.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments import logs
from deployments.domain.errors import Unavailable
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql
from deployments.store.scope_pages import rows_left

_logger = logging.getLogger(logs.NAME)

_ADDED_AT_ONCE = 100

# Before so many memories are written at once, the size of their scope is looked at: a load of many
# goes into the index as it comes, and not all of it when the first search comes.
_MANY = 64

_PATIENCE_S = 300.0  # for others' transactions, until the log tells of them

_Listed = tuple[str, str, datetime]
"""A scope, and when it was listed."""


@dataclass(slots=True)
class _Filling:
    """Of a scope: since when, by the database's clock and by ours."""

    began_at: datetime
    began_s: float
    is_told: bool = False
    """Whether the log has been told what it waits for."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Of a scope that the index has all memories of."""

    entries: int
    """About how many the index has, of all scopes."""
    has_sketches: bool
    """Whether each of the scope's memories has its own."""


class VectorIndex:
    """Lists scopes, and fills the index with what they had before."""

    def __init__(self, exact_rows: int, patience_s: float = _PATIENCE_S) -> None:
        self._exact_rows = exact_rows
        self._patience_s = patience_s
        self._begun: dict[_Listed, _Filling] = {}

    async def listing(self, connection: Connection, agent_id: str, user_id: str) -> Listing | None:
        """Of a large scope. None where the index has not all of its memories; it is listed then."""
        row = await connection.fetchrow(sql("listed_scope"), agent_id, user_id)
        if row["is_filled"] is None:
            await connection.execute(sql("list_scope"), agent_id, user_id)
        return Listing(row["entries"], row["has_sketches"]) if row["is_filled"] else None

    async def list_large(
        self, connection: Connection, scopes: Iterable[tuple[str, str]], least: int = _MANY
    ) -> None:
        """Of those that `least` memories or more are about to be written to, the ones that are
        large."""
        # In one order for all, lest two writers wait for each other.
        many = sorted(scope for scope, count in Counter(scopes).items() if count >= least)
        if many:
            agent_ids, user_ids = zip(*many, strict=True)
            await connection.execute(
                sql("list_large_scopes"), agent_ids, user_ids, self._exact_rows
            )

    async def fill(self, pool: Pool) -> None:
        """Add what is missing of listed scopes. Safe from many processes at once. Raises
        Unavailable, when it has tried all of them."""
        async with pool.acquire() as connection:
            scopes: list[_Listed] = [
                tuple(row) for row in await connection.fetch(sql("scopes_to_fill"))
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

    async def _fill(self, pool: Pool, scope: _Listed) -> None:
        async with pool.acquire() as connection:
            filling = self._begun.get(scope)
            is_first = filling is None
            if filling is None:
                now = await connection.fetchval(sql("now"))
                filling = self._begun[scope] = _Filling(now, time.monotonic())
            # A writer that looked at the list before the scope was in it may not have committed:
            # when none is left, the next pass is the last.
            writer = await connection.fetchrow(sql("earliest_writer"), filling.began_at)
        if writer is not None:
            self._tell(filling, writer)
        if is_first or writer is None:
            had_all = await self._pass(pool, *scope[:2])
            if writer is None and had_all:
                async with pool.acquire() as connection:
                    await connection.execute(sql("scope_is_filled"), *scope)

    def _tell(self, filling: _Filling, writer: Any) -> None:
        """Once for each scope: an operator can end what holds it up."""
        if filling.is_told or time.monotonic() - filling.began_s < self._patience_s:
            return
        filling.is_told = True
        _logger.warning(
            "a large scope is scored whole, slowly, until a transaction ends that is open since %s "
            "(Postgres process %d): its index may lack what that has written",
            writer["xact_start"].isoformat(timespec="seconds"),
            writer["pid"],
        )

    async def _pass(self, pool: Pool, agent_id: str, user_id: str) -> bool:
        """Whether it could have all that it came upon."""
        return not await rows_left(pool, "fill_index", agent_id, user_id, _ADDED_AT_ONCE)
