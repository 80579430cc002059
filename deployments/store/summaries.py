"""Summaries in Postgres: found due, stored with their sources hidden, undone, purged."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from deployments.domain.errors import GenerationRetired, NotASummary
from deployments.domain.summaries import Condensation, ScopeToCondense, Source
from deployments.domain.types import InsertCall, Memory
from deployments.store.inserts import Inserts
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.upkeep import TermsUpkeep

_PURGED_SUMMARIES = 20


class _SourcesChanged(Exception):
    pass


class PostgresSummaries:
    """The part of the store that summaries live in; the repository has the rest."""

    _pool: Pool
    _inserts: Inserts
    _terms: TermsUpkeep
    _count: Callable[[str, int], None]

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(sql("scopes_to_condense"), *after, threshold, limit)
        return [ScopeToCondense(row["agent_id"], row["user_id"], row["is_due"]) for row in rows]

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                sql("oldest_condensable"), agent_id, user_id, threshold, limit
            )
        return [
            Source(
                id=UUID(int=row["id"].int),
                content=row["content"],
                embedding=row["embedding"].to_numpy(),
                importance=row["importance"],
                metadata=row["metadata"],
                created_at=row["created_at"],
                updated_at=row["updated_at"],
            )
            for row in rows
        ]

    async def condense(self, condensation: Condensation) -> Memory | None:
        """In one transaction. Who changes or deletes a source at the same time waits for it, or it
        for them; of two that condense the same the second finds its sources changed."""
        new, sources = condensation.summary, condensation.sources
        call = InsertCall([new], condensation.embedding[None], condensation.generation, None)
        terms = await self._inserts.index([call])
        async with self._pool.acquire() as connection:
            await self._terms.adopt(connection)  # which must not be undone with the rest
            try:
                async with connection.transaction():
                    await connection.execute(sql("lock_scope"), new.agent_id, new.user_id)
                    (stored,) = await self._inserts.add(connection, [call], terms)
                    if isinstance(stored, GenerationRetired):
                        raise stored
                    await connection.execute(sql("leave_as_it_is"), new.agent_id, new.id)
                    hidden = await connection.fetchval(
                        sql("supersede"),
                        new.agent_id,
                        new.user_id,
                        [source_id for source_id, _ in sources],
                        [updated_at for _, updated_at in sources],
                        new.id,
                    )
                    if hidden < len(sources):
                        raise _SourcesChanged
            except _SourcesChanged:
                return None
        self._count("condense", len(sources))
        return stored[0]

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        async with self._pool.acquire() as connection:
            if await connection.fetchrow(sql("get_memory"), agent_id, memory_id) is None:
                return None
            rows = await connection.fetch(sql("sources_of"), agent_id, memory_id)
        return [memory_of(row) for row in rows]

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        async with self._pool.acquire() as connection:
            summary = await connection.fetchrow(sql("get_memory"), agent_id, memory_id)
            if summary is None:
                return None
            async with connection.transaction():
                await connection.execute(sql("lock_scope"), agent_id, summary["user_id"])
                rows = await connection.fetch(sql("give_back"), agent_id, memory_id, False)
                if not rows:
                    raise NotASummary(str(memory_id))
                await connection.execute(sql("drop_summary"), agent_id, memory_id)
        self._count("restore", len(rows))
        return sorted(map(memory_of, rows), key=lambda memory: (memory.created_at, memory.id))

    async def purge_superseded(self, before: datetime) -> int:
        total = 0
        async with self._pool.acquire() as connection:
            while purged := await connection.fetchval(
                sql("purge_superseded"), before, _PURGED_SUMMARIES
            ):
                total += purged
        self._count("purge", total)
        return total


async def undo_without(connection: Connection, agent_id: str, summary_id: UUID) -> None:
    """After a source was deleted: the summary that has its words goes, too. The other sources are
    back, to be condensed again without it.

    Under the lock of the scope, so that no two wait for each other's sources.
    """
    await connection.execute(sql("give_back"), agent_id, summary_id, True)
    await connection.execute(sql("drop_summary"), agent_id, summary_id)
