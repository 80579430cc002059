"""Keeps each memory's terms and the document frequencies up to date."""

from typing import Any

from deployments.store.lexical.lexicon import Lexicon
from deployments.store.postgres.pool import Connection
from deployments.store.sql import sql

_RENEW_ROWS = 200
_FOLD_CHANGES = 20_000
_RECOUNT_TIMEOUT_S = 3_600.0  # for each statement that reads all memories


class TermsUpkeep:
    """Adopts a lexicon, renews the terms of older ones, folds and recounts frequencies."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._number: int | None = None

    async def adopt(self, connection: Connection) -> int:
        """The lexicon's number; the first call records the lexicon. Many processes may call this at
        once."""
        if self._number is None:
            async with connection.transaction():
                active = await connection.fetchrow(*sql.active_lexicon())
                if not self._is_ours(active):
                    await connection.execute(*sql.lock_lexicons())
                    active = await connection.fetchrow(*sql.active_lexicon())
                if active is None or not self._is_ours(active):
                    active = await connection.fetchrow(*sql.add_lexicon(**self._parameters()))
                number = int(active["lexicon"])
            self._number = number
        return self._number

    async def outdated(self, connection: Connection) -> int:
        """How many memories and versions have no terms, or those of an older lexicon."""
        number = await self.adopt(connection)
        return int(
            await connection.fetchval(
                *sql.count_outdated(lexicon=number), timeout=_RECOUNT_TIMEOUT_S
            )
        )

    async def is_in_use(self, connection: Connection) -> bool:
        """False if another graph has adopted other settings since."""
        active = await connection.fetchrow(*sql.active_lexicon())
        return active is None or self._is_ours(active)

    async def renew(self, connection: Connection) -> int:
        """Renew the terms of up to 200 memories that have none or those of an older lexicon; of
        versions, if no memory is left. Returns how many."""
        number = await self.adopt(connection)
        return await self._renew_memories(connection, number) or await self._renew_versions(
            connection, number
        )

    async def _renew_memories(self, connection: Connection, number: int) -> int:
        async with connection.transaction():
            rows = await connection.fetch(
                *sql.outdated_memories(lexicon=number, max_rows=_RENEW_ROWS)
            )
            if rows:
                terms = await self._lexicon.index_all(
                    [(row["agent_id"], row["user_id"], row["content"]) for row in rows]
                )
                await connection.execute(
                    *sql.renew_terms(
                        ids=[row["id"] for row in rows],
                        agent_ids=[row["agent_id"] for row in rows],
                        lexicon=number,
                        terms=[entry.weights for entry in terms],
                        term_keys=[entry.keys_text() for entry in terms],
                    )
                )
        return len(rows)

    async def _renew_versions(self, connection: Connection, number: int) -> int:
        async with connection.transaction():
            rows = await connection.fetch(
                *sql.outdated_versions(lexicon=number, max_rows=_RENEW_ROWS)
            )
            if rows:
                terms = await self._lexicon.index_all(
                    [(row["agent_id"], row["user_id"], row["content"]) for row in rows]
                )
                await connection.execute(
                    *sql.renew_versions(
                        ids=[row["id"] for row in rows],
                        versions=[row["version"] for row in rows],
                        agent_ids=[row["agent_id"] for row in rows],
                        lexicon=number,
                        terms=[entry.weights for entry in terms],
                    )
                )
        return len(rows)

    async def fold(self, connection: Connection) -> bool:
        """Add up to 20,000 changes to the frequencies, unless another process does. Returns whether
        more than 20,000 changes remain. Fewer wait for a later call, because they cost a search
        little."""
        async with connection.transaction():
            if not await connection.fetchval(*sql.try_folding()):
                return False
            await connection.execute(*sql.fold_frequencies(max_changes=_FOLD_CHANGES))
            return bool(await connection.fetchval(*sql.has_more_changes(changes=_FOLD_CHANGES)))

    async def recount(self, connection: Connection) -> None:
        """Count all frequencies again. Meanwhile searches run; writes wait, and fail with
        Unavailable if they wait longer than their statement timeout."""
        async with connection.transaction():
            for statement in (
                sql.wait_for_folding,
                sql.lock_frequencies,
                sql.clear_frequency_changes,
                sql.clear_frequencies,
                sql.count_frequencies,
            ):
                await connection.execute(*statement(), timeout=_RECOUNT_TIMEOUT_S)

    def _is_ours(self, active: Any) -> bool:
        return active is not None and tuple(active)[1:] == tuple(self._parameters().values())

    def _parameters(self) -> dict[str, object]:
        """The lexicon's settings, in the order of `active_lexicon`'s columns."""
        settings = self._lexicon.settings
        return {
            "analyzer_version": self._lexicon.analyzer_version,
            "language": settings.language,
            "k1": settings.bm25_k1,
            "b": settings.bm25_b,
            "average_terms": settings.bm25_average_terms,
        }
