"""Writes new memories, those of many calls in one statement."""

import json
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pgvector import Vector

from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import GenerationRetired
from deployments.domain.memories import ImportOutcome, InsertCall, Memory, NewMemory
from deployments.store.generations.active import active_generation
from deployments.store.lexical.lexicon import IndexedTerms, Lexicon
from deployments.store.lexical.upkeep import TermsUpkeep
from deployments.store.postgres.pool import Connection
from deployments.store.postgres.rows import memory_of
from deployments.store.settings import Dedup
from deployments.store.sql import sql
from deployments.store.vector_index.index import VectorIndex


@dataclass(frozen=True, slots=True)
class _Row:
    memory: NewMemory
    embedding: Embeddings
    generation: int
    terms: IndexedTerms

    @property
    def scope(self) -> tuple[str, str]:
        return self.memory.agent_id, self.memory.user_id

    @property
    def identity_key(self) -> Hashable:
        """Equal for identical memories."""
        memory = self.memory
        metadata = json.dumps(memory.metadata, sort_keys=True)
        importance = str(memory.importance)
        return *self.scope, memory.content, memory.memory_type, importance, metadata


class MemoryWriter:
    """Analyses contents without a connection, then writes on one.

    With `dedup` "touch", a write refreshes an existing identical memory instead of storing a second
    copy. It finds this memory by its terms, so it does not find one with outdated terms.
    """

    def __init__(
        self, lexicon: Lexicon, terms: TermsUpkeep, index: VectorIndex, dedup: Dedup
    ) -> None:
        self._lexicon = lexicon
        self._terms = terms
        self._index = index
        self._touch_identical = dedup == "touch"

    async def analyse(self, calls: Sequence[InsertCall]) -> list[list[IndexedTerms]]:
        """The terms of each call's memories."""
        contents = [
            (memory.agent_id, memory.user_id, memory.content)
            for call in calls
            for memory in call.memories
        ]
        terms = iter(await self._lexicon.index_all(contents))
        return [[next(terms) for _ in call.memories] for call in calls]

    async def write(
        self,
        connection: Connection,
        calls: Sequence[InsertCall],
        terms_of_calls: Sequence[Sequence[IndexedTerms]],
    ) -> list[list[Memory] | GenerationRetired]:
        """Write all calls in one commit. Returns for each call its memories as they are stored, or
        GenerationRetired if its generation is retired: then none of them is stored. With `dedup`
        "touch", raises GenerationRetired if any call's generation is; then nothing is changed."""
        return await self._write(connection, calls, terms_of_calls, self._touch_identical)

    async def add(
        self,
        connection: Connection,
        calls: Sequence[InsertCall],
        terms_of_calls: Sequence[Sequence[IndexedTerms]],
    ) -> list[list[Memory] | GenerationRetired]:
        """Like `write`, but store a second copy if an identical memory exists."""
        return await self._write(connection, calls, terms_of_calls, touch_identical=False)

    async def add_missing(
        self, connection: Connection, call: InsertCall, terms: Sequence[IndexedTerms]
    ) -> list[ImportOutcome]:
        """Store, in one commit, the memories of one agent whose ids do not exist. Returns the
        outcome for each memory. Raises GenerationRetired."""
        rows = _rows([call], [terms])
        lexicon = await self._terms.adopt(connection)
        # Check every scope: an import may be large although its parts are small.
        await self._index.list_large(connection, (row.scope for row in rows), min_rows=1)
        async with connection.transaction():
            stored = await self._insert(connection, rows, lexicon)
            await _hide(connection, call, {UUID(int=row["id"].int) for row in stored})
        outcomes = {UUID(int=row["id"].int): ImportOutcome.STORED for row in stored}
        rest = [row.memory.id for row in rows if row.memory.id not in outcomes]
        if rest:
            if call.generation != await active_generation(connection):
                raise GenerationRetired
            known = await known_ids(connection, call.memories[0].agent_id, rest)
            outcomes |= {
                id_: ImportOutcome.EXISTS if id_ in known else ImportOutcome.TAKEN for id_ in rest
            }
        return [outcomes[memory.id] for memory in call.memories]

    async def _write(
        self,
        connection: Connection,
        calls: Sequence[InsertCall],
        terms_of_calls: Sequence[Sequence[IndexedTerms]],
        touch_identical: bool,
    ) -> list[list[Memory] | GenerationRetired]:
        if not calls:
            return []
        lexicon = await self._terms.adopt(connection)
        rows = _rows(calls, terms_of_calls)
        await self._index.list_large(connection, (row.scope for row in rows))
        if touch_identical:
            stored = await self._touch_or_add(connection, rows, lexicon)
        else:
            stored = await self._add(connection, rows, lexicon)
        return [
            [stored[memory.id] for memory in call.memories]
            if all(memory.id in stored for memory in call.memories)
            else GenerationRetired()
            for call in calls
        ]

    async def _touch_or_add(
        self, connection: Connection, rows: Sequence[_Row], lexicon: int
    ) -> dict[UUID, Memory]:
        """The stored memories by the ids in `rows`. A touched memory keeps its own id."""
        groups: dict[Hashable, list[_Row]] = {}
        for row in rows:
            groups.setdefault(row.identity_key, []).append(row)
        firsts = [group[0] for group in groups.values()]
        memories = [row.memory for row in firsts]
        contents = {
            "agent_ids": [memory.agent_id for memory in memories],
            "user_ids": [memory.user_id for memory in memories],
            "contents": [memory.content for memory in memories],
        }
        async with connection.transaction():
            await connection.execute(*sql.lock_contents(**contents))
            touched = await connection.fetch(
                *sql.touch_identical(
                    **contents,
                    ids=[memory.id for memory in memories],
                    importances=[memory.importance for memory in memories],
                    memory_types=[memory.memory_type for memory in memories],
                    metadata=[memory.metadata for memory in memories],
                    created_at=[memory.created_at for memory in memories],
                    expires_at=[memory.expires_at for memory in memories],
                    term_keys=[row.terms.keys_text() for row in firsts],
                )
            )
            stored = {UUID(int=row["requested_id"].int): memory_of(row) for row in touched}
            new = [row for row in firsts if row.memory.id not in stored]
            if new:
                stored |= await self._add(connection, new, lexicon)
                if len(stored) < len(firsts):
                    raise GenerationRetired
        return {
            row.memory.id: stored[group[0].memory.id] for group in groups.values() for row in group
        }

    async def _add(
        self, connection: Connection, rows: Sequence[_Row], lexicon: int
    ) -> dict[UUID, Memory]:
        """The stored memories by id, without those of a retired generation."""
        stored = await self._insert(connection, rows, lexicon)
        if len(stored) < len(rows):
            ids = [row.memory.id for row in rows]
            agent_ids = [row.memory.agent_id for row in rows]
            stored = await connection.fetch(*sql.select_inserted(ids=ids, agent_ids=agent_ids))
        return {memory.id: memory for memory in map(memory_of, stored)}

    async def _insert(
        self, connection: Connection, rows: Sequence[_Row], lexicon: int
    ) -> Sequence[Any]:
        """Store the memories whose ids do not exist, and return their rows."""
        memories = [row.memory for row in rows]
        return await connection.fetch(  # type: ignore[no-any-return]
            *sql.insert_memories(
                ids=[memory.id for memory in memories],
                agent_ids=[memory.agent_id for memory in memories],
                user_ids=[memory.user_id for memory in memories],
                contents=[memory.content for memory in memories],
                embeddings=[Vector(row.embedding) for row in rows],  # asyncpg splits arrays
                generations=[row.generation for row in rows],
                importances=[memory.importance for memory in memories],
                memory_types=[memory.memory_type for memory in memories],
                metadata=[memory.metadata for memory in memories],
                created_at=[memory.created_at for memory in memories],
                lexicon=lexicon,
                terms=[row.terms.weights for row in rows],
                term_keys=[row.terms.keys_text() for row in rows],
                expires_at=[memory.expires_at for memory in memories],
                updated_at=[memory.updated_at for memory in memories],
            )
        )


async def known_ids(connection: Connection, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
    """The given ids that memories of the agent have."""
    rows = await connection.fetch(*sql.known_ids(agent_id=agent_id, ids=ids))
    return {UUID(int=row["id"].int) for row in rows}


def _rows(
    calls: Sequence[InsertCall], terms_of_calls: Sequence[Sequence[IndexedTerms]]
) -> list[_Row]:
    return [
        _Row(memory, embedding, call.generation, terms)
        for call, entries in zip(calls, terms_of_calls, strict=True)
        for memory, embedding, terms in zip(call.memories, call.embeddings, entries, strict=True)
    ]


async def _hide(connection: Connection, call: InsertCall, stored: Collection[UUID]) -> None:
    """Hide the stored memories that were superseded in the imported data."""
    superseded = [m for m in call.memories if m.superseded_by is not None and m.id in stored]
    if superseded:
        await connection.execute(
            *sql.hide_imported(
                agent_id=superseded[0].agent_id,
                ids=[memory.id for memory in superseded],
                summary_ids=[memory.superseded_by for memory in superseded],
            )
        )
