"""Inserts: the words of new memories, and all of many calls in one statement."""

from collections.abc import Sequence

from pgvector import Vector

from deployments.domain.types import InsertCall, Memory
from deployments.store.lexicon import IndexedTerms, Lexicon
from deployments.store.pool import Connection
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.upkeep import TermsUpkeep


class Inserts:
    """Inserts on a connection what it has indexed before, without one."""

    def __init__(self, lexicon: Lexicon, terms: TermsUpkeep) -> None:
        self._lexicon = lexicon
        self._terms = terms

    async def index(self, calls: Sequence[InsertCall]) -> list[list[IndexedTerms]]:
        """Of each call's memories."""
        terms = iter(
            await self._lexicon.index_all(
                [
                    (memory.agent_id, memory.user_id, memory.content)
                    for call in calls
                    for memory in call.memories
                ]
            )
        )
        return [[next(terms) for _ in call.memories] for call in calls]

    async def insert(
        self,
        connection: Connection,
        calls: Sequence[InsertCall],
        terms_of_calls: Sequence[Sequence[IndexedTerms]],
    ) -> list[list[Memory]]:
        """All or none, in one commit: each call's memories, as they are stored."""
        if not calls:
            return []
        memories = [memory for call in calls for memory in call.memories]
        terms = [entry for entries in terms_of_calls for entry in entries]
        ids = [memory.id for memory in memories]
        agent_ids = [memory.agent_id for memory in memories]
        rows = await connection.fetch(
            sql("insert_memories"),
            ids,
            agent_ids,
            [memory.user_id for memory in memories],
            [memory.content for memory in memories],
            [Vector(row) for call in calls for row in call.embeddings],  # asyncpg splits arrays
            [call.generation for call in calls for _ in call.memories],
            [memory.importance for memory in memories],
            [memory.memory_type for memory in memories],
            [memory.metadata for memory in memories],
            [memory.created_at for memory in memories],
            await self._terms.adopt(connection),
            [entry.weights for entry in terms],
            [entry.keys_text() for entry in terms],
            [memory.expires_at for memory in memories],
        )
        if len(rows) < len(memories):
            rows = await connection.fetch(sql("select_inserted"), ids, agent_ids)
        stored = {memory.id: memory for memory in map(memory_of, rows)}
        return [[stored[memory.id] for memory in call.memories] for call in calls]
