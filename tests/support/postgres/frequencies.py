"""Document frequencies: as the database stores them, and recounted from the contents."""

from collections import Counter

from deployments.store.lexical.lexicon import Lexicon
from deployments.store.postgres.pool import Pool
from deployments.store.settings import SearchSettings


async def stored_frequencies(pool: Pool) -> dict[int, int]:
    """Document frequency by term key, as searches read it."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select term_key, sum(memories)::int as n from (select * from document_frequencies "
            "union all select * from document_frequency_changes) as f group by 1"
        )
    return {row["term_key"]: row["n"] for row in rows if row["n"] != 0}


async def recounted_frequencies(pool: Pool) -> dict[int, int]:
    """Document frequency by term key, counted from the contents without the triggers' code."""
    lexicon = Lexicon(SearchSettings())
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select agent_id, user_id, content from memories where superseded_by is null"
        )
    keys = [lexicon.index(row["agent_id"], row["user_id"], row["content"]).keys for row in rows]
    return Counter(key for entry in keys for key in entry)
