"""Keeps what the lexical arm has stored true: each memory's terms, and how frequent each is."""

from deployments.store.lexicon import Lexicon
from deployments.store.pool import Connection
from deployments.store.queries import sql

_RENEWED_AT_ONCE = 200
_FOLDED_AT_ONCE = 20_000
_RECOUNT = (
    "wait_for_folding",
    "lock_frequencies",
    "clear_frequency_changes",
    "clear_frequencies",
    "count_frequencies",
)
_RECOUNT_TIMEOUT_S = 3_600.0  # for each: they read all memories


class TermsUpkeep:
    """Adopts a lexicon, renews what an older one made, folds and recounts frequencies."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._number: int | None = None

    async def adopt(self, connection: Connection) -> int:
        """The lexicon's number, recorded on the first call. Safe from many processes at once."""
        if self._number is None:
            async with connection.transaction():
                active = await connection.fetchrow(sql("active_lexicon"))
                if active is None or tuple(active)[1:] != self._parameters():
                    await connection.execute(sql("lock_lexicons"))
                    active = await connection.fetchrow(sql("active_lexicon"))
                if active is None or tuple(active)[1:] != self._parameters():
                    active = await connection.fetchrow(sql("add_lexicon"), *self._parameters())
                number = int(active["lexicon"])
            self._number = number
        return self._number

    async def outdated(self, connection: Connection) -> int:
        """How many memories have no terms or an older lexicon's."""
        number = await self.adopt(connection)
        return int(
            await connection.fetchval(sql("count_outdated"), number, timeout=_RECOUNT_TIMEOUT_S)
        )

    async def is_in_use(self, connection: Connection) -> bool:
        """Whether no other settings have been adopted since, by a newer version of the graph."""
        active = await connection.fetchrow(sql("active_lexicon"))
        return active is None or tuple(active)[1:] == self._parameters()

    async def renew(self, connection: Connection) -> int:
        """Make anew the terms of some memories that have none or an older lexicon's; how many."""
        number = await self.adopt(connection)
        async with connection.transaction():
            rows = await connection.fetch(sql("outdated_memories"), number, _RENEWED_AT_ONCE)
            if rows:
                terms = await self._lexicon.index_all(
                    [(row["agent_id"], row["user_id"], row["content"]) for row in rows]
                )
                await connection.execute(
                    sql("renew_terms"),
                    [row["id"] for row in rows],
                    [row["agent_id"] for row in rows],
                    number,
                    [entry.weights for entry in terms],
                    [entry.keys_text() for entry in terms],
                )
        return len(rows)

    async def fold(self, connection: Connection) -> bool:
        """Add the frequencies' changes up, so many at once, unless another process does; whether
        there are as many again. Fewer wait for the next time: they cost a search little."""
        async with connection.transaction():
            if not await connection.fetchval(sql("try_folding")):
                return False
            await connection.execute(sql("fold_frequencies"), _FOLDED_AT_ONCE)
            return bool(await connection.fetchval(sql("has_more_changes"), _FOLDED_AT_ONCE))

    async def recount(self, connection: Connection) -> None:
        """Count all frequencies anew. Searches go on; writes wait, and fail with Unavailable where
        it takes longer than their statement timeout."""
        async with connection.transaction():
            for name in _RECOUNT:
                await connection.execute(sql(name), timeout=_RECOUNT_TIMEOUT_S)

    def _parameters(self) -> tuple[object, ...]:
        settings = self._lexicon.settings
        return (
            self._lexicon.analyzer_version,
            settings.language,
            settings.bm25_k1,
            settings.bm25_b,
            settings.bm25_average_terms,
        )
