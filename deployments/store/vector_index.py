"""Which scopes are in the index of vectors: those that were found too large to be scored whole.

A scope is listed first; from then on its new memories go into the index as they are written. Those
of before are added in the background, and searches score the scope whole until that is done.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from deployments.domain.errors import Unavailable
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql

_ADDED_AT_ONCE = 100
_PAGE_TIMEOUT_S = 120.0  # of an index that is larger than memory

# Before so many memories are written at once, the size of their scope is looked at: a load of many
# goes into the index as it comes, and not all of it when the first search comes.
_MANY = 64

_Listed = tuple[str, str, datetime]
"""A scope, and when it was listed."""


class VectorIndex:
    """Lists scopes, and fills the index with what they had before."""

    def __init__(self, exact_rows: int) -> None:
        self._exact_rows = exact_rows
        self._begun: dict[_Listed, datetime] = {}

    async def entries(self, connection: Connection, agent_id: str, user_id: str) -> int | None:
        """About how many there are of all scopes; None where the index has not all memories of
        this one, which is large. It is listed then."""
        row = await connection.fetchrow(sql("listed_scope"), agent_id, user_id)
        if row["is_filled"] is None:
            await connection.execute(sql("list_scope"), agent_id, user_id)
        return row["entries"] if row["is_filled"] else None

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
        self._begun = {scope: began for scope, began in self._begun.items() if scope in scopes}
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
            is_first = scope not in self._begun
            if is_first:
                self._begun[scope] = await connection.fetchval(sql("now"))
            # A writer that looked at the list before the scope was in it may not have committed:
            # when none is left, the next pass is the last.
            is_last = not await connection.fetchval(sql("has_earlier_writers"), self._begun[scope])
        if is_first or is_last:
            had_all = await self._pass(pool, *scope[:2])
            if is_last and had_all:
                async with pool.acquire() as connection:
                    await connection.execute(sql("scope_is_filled"), *scope)

    async def _pass(self, pool: Pool, agent_id: str, user_id: str) -> bool:
        """Whether it could have all that it came upon."""
        had_all = True
        after: tuple[datetime | None, UUID | None] = (None, None)
        while True:
            async with pool.acquire() as connection:  # for each page: there may be one alone
                row: Any = await connection.fetchrow(
                    sql("fill_index"),
                    agent_id,
                    user_id,
                    *after,
                    _ADDED_AT_ONCE,
                    timeout=_PAGE_TIMEOUT_S,
                )
            had_all = had_all and not row["rows_left"]
            if row["id"] is None:
                return had_all
            after = (row["created_at"], row["id"])
