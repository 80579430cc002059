"""The repository of summaries: it finds memories that are due, stores summaries and hides their
sources, restores sources, and purges them."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from deployments.domain.errors import GenerationRetired, NotASummary
from deployments.domain.memories import InsertCall, Memory
from deployments.domain.summaries import Condensation, ScopeToCondense, Source
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.memories.superseded import undo_summary
from deployments.store.memories.writer import MemoryWriter
from deployments.store.postgres.pool import Pool
from deployments.store.postgres.rows import memory_of
from deployments.store.sql import sql

_PURGED_SUMMARIES = 20


class _SourcesChanged(Exception):
    pass


class SummaryRepository:
    """Implements the Summaries and the Condensing ports."""

    def __init__(
        self,
        pool: Pool,
        writer: MemoryWriter,
        terms: TermsUpkeep,
        count: Callable[[str, int], None],
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._terms = terms
        self._count = count

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        after_agent_id, after_user_id = after
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                *sql.scopes_to_condense(
                    after_agent_id=after_agent_id,
                    after_user_id=after_user_id,
                    threshold=threshold,
                    max_scopes=limit,
                )
            )
        return [ScopeToCondense(row["agent_id"], row["user_id"], row["is_due"]) for row in rows]

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                *sql.oldest_condensable(
                    agent_id=agent_id, user_id=user_id, threshold=threshold, max_rows=limit
                )
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
        """See `Condensing.condense`. A concurrent change or deletion of a source waits for this
        transaction, or this for it. If two calls condense the same sources, the second finds them
        changed."""
        new, sources = condensation.summary, condensation.sources
        call = InsertCall([new], condensation.embedding[None], condensation.generation, None)
        terms = await self._writer.analyse([call])
        async with self._pool.acquire() as connection:
            # In its own transaction, so that a rollback below does not undo it.
            await self._terms.adopt(connection)
            try:
                async with connection.transaction():
                    scope = {"agent_id": new.agent_id, "user_id": new.user_id}
                    await connection.execute(*sql.lock_scope(**scope))
                    (stored,) = await self._writer.add(connection, [call], terms)
                    if isinstance(stored, GenerationRetired):
                        raise stored
                    await connection.execute(
                        *sql.leave_as_it_is(agent_id=new.agent_id, summary_id=new.id)
                    )
                    hidden = await connection.fetchval(
                        *sql.supersede(
                            **scope,
                            ids=[source_id for source_id, _ in sources],
                            updated_at=[updated_at for _, updated_at in sources],
                            summary_id=new.id,
                        )
                    )
                    if hidden < len(sources):
                        raise _SourcesChanged
            except _SourcesChanged:
                return None
        self._count("condense", len(sources))
        return stored[0]

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        async with self._pool.acquire() as connection:
            memory = sql.get_memory(agent_id=agent_id, memory_id=memory_id)
            if await connection.fetchrow(*memory) is None:
                return None
            rows = await connection.fetch(*sql.sources_of(agent_id=agent_id, summary_id=memory_id))
        return [memory_of(row) for row in rows]

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        async with self._pool.acquire() as connection:
            summary = await connection.fetchrow(
                *sql.get_memory(agent_id=agent_id, memory_id=memory_id)
            )
            if summary is None:
                return None
            async with connection.transaction():
                await connection.execute(
                    *sql.lock_scope(agent_id=agent_id, user_id=summary["user_id"])
                )
                rows = await undo_summary(connection, agent_id, memory_id, condensable=False)
                if not rows:
                    raise NotASummary(str(memory_id))  # this rolls back the deletion
        self._count("restore", len(rows))
        return sorted(map(memory_of, rows), key=lambda memory: (memory.created_at, memory.id))

    async def purge_superseded(self, before: datetime) -> int:
        total = 0
        async with self._pool.acquire() as connection:
            while purged := await connection.fetchval(
                *sql.purge_superseded(superseded_before=before, max_summaries=_PURGED_SUMMARIES)
            ):
                total += purged
        self._count("purge", total)
        return total
