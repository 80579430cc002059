"""Finds scopes whose ids break the rules of deployments/domain/text.py, which are younger than some
databases, and renames them."""

from collections.abc import Callable
from dataclasses import dataclass

from deployments.domain.text import id_fault, mended_id
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.sql import sql

_PAGE_ROWS = 500
_SCAN_TIMEOUT_S = 3_600.0  # for the statement that reads all memories' ids


@dataclass(frozen=True, slots=True)
class Renaming:
    """A scope whose ids break the rules, and the scope that it becomes."""

    agent_id: str
    user_id: str
    new_agent_id: str
    new_user_id: str
    memories: int
    joins: bool
    """Whether the new scope has memories already."""


class IdRenaming:
    """Scopes with ids that the API refuses. Both methods raise Unavailable."""

    def __init__(self, pool: Pool, lexicon: Lexicon, terms: TermsUpkeep) -> None:
        self._pool = pool
        self._lexicon = lexicon
        self._terms = terms

    async def renamings(self) -> list[Renaming]:
        """Every scope to rename, ordered by agent and user."""
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(*sql.uncommon_scopes(), timeout=_SCAN_TIMEOUT_S)
            return [
                await _renaming(connection, row["agent_id"], row["user_id"], row["memories"])
                for row in rows
                if id_fault(row["agent_id"]) or id_fault(row["user_id"])
            ]

    async def rename(self, renaming: Renaming, progress: Callable[[int], None]) -> None:
        """Rename a scope's ids in its memories and their versions, all or none. `progress` is
        called with the number of memories of each page."""
        async with self._pool.acquire() as connection:
            lexicon = await self._terms.adopt(connection)
            old = {"agent_id": renaming.agent_id, "user_id": renaming.user_id}
            new = {"agent_id": renaming.new_agent_id, "user_id": renaming.new_user_id}
            async with connection.transaction():
                await connection.execute(*sql.lock_scope(**old))
                while rows := await connection.fetch(
                    *sql.memories_to_rename(**old, max_rows=_PAGE_ROWS)
                ):
                    ids = [row["id"] for row in rows]
                    terms = await self._lexicon.index_all(
                        [(*new.values(), row["content"]) for row in rows]
                    )
                    await connection.execute(
                        *sql.rename_memories(
                            agent_id=renaming.agent_id,
                            new_agent_id=renaming.new_agent_id,
                            new_user_id=renaming.new_user_id,
                            lexicon=lexicon,
                            ids=ids,
                            terms=[entry.weights for entry in terms],
                            term_keys=[entry.keys_text() for entry in terms],
                        )
                    )
                    progress(len(rows))
                await connection.execute(
                    *sql.rename_versions(
                        **old,
                        new_agent_id=renaming.new_agent_id,
                        new_user_id=renaming.new_user_id,
                    )
                )
                await connection.execute(*sql.drop_kept_answers_of_user(**old))
                for scope in (old, new):
                    await connection.execute(*sql.forget_listed_scope(**scope))
                if renaming.new_agent_id != renaming.agent_id:
                    await connection.execute(*sql.forget_keys_of_agent(agent_id=renaming.agent_id))


async def _renaming(connection: Connection, agent_id: str, user_id: str, memories: int) -> Renaming:
    new = {
        "agent_id": mended_id(agent_id) if id_fault(agent_id) else agent_id,
        "user_id": mended_id(user_id) if id_fault(user_id) else user_id,
    }
    joins = bool(await connection.fetchval(*sql.has_scope(**new)))
    return Renaming(agent_id, user_id, new["agent_id"], new["user_id"], memories, joins)
