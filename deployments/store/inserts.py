"""Inserts: the words of new memories, and all of many calls in one statement."""

import json
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pgvector import Vector

from deployments.domain.errors import GenerationRetired
from deployments.domain.types import Embeddings, Imported, InsertCall, Memory, NewMemory
from deployments.store.generations import active_generation
from deployments.store.lexicon import IndexedTerms, Lexicon
from deployments.store.pool import Connection
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.settings import Dedup
from deployments.store.upkeep import TermsUpkeep
from deployments.store.vector_index import VectorIndex


@dataclass(frozen=True, slots=True)
class _Row:
    memory: NewMemory
    embedding: Embeddings
    generation: int
    terms: IndexedTerms

    @property
    def said(self) -> tuple[str, ...]:
        """What makes two memories identical: scope and content first."""
        memory = self.memory
        metadata = json.dumps(memory.metadata, sort_keys=True)
        scope = (memory.agent_id, memory.user_id)
        return (*scope, memory.content, memory.memory_type, str(memory.importance), metadata)


class Inserts:
    """Inserts on a connection what it has indexed before, without one. With `dedup` "touch", what
    is there already, to the letter, is made new instead; memories are found by their words, so not
    those whose words are still to be renewed."""

    def __init__(
        self, lexicon: Lexicon, terms: TermsUpkeep, index: VectorIndex, dedup: Dedup
    ) -> None:
        self._lexicon = lexicon
        self._terms = terms
        self._index = index
        self._touches = dedup == "touch"

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
    ) -> list[list[Memory] | GenerationRetired]:
        """In one commit: each call's memories, as they are stored, or what they are not stored for.
        A call's are all stored or none. Raises GenerationRetired where identical ones are touched
        and any is of a retired generation: then nothing is changed."""
        return await self._insert(connection, calls, terms_of_calls, self._touches)

    async def add(
        self,
        connection: Connection,
        calls: Sequence[InsertCall],
        terms_of_calls: Sequence[Sequence[IndexedTerms]],
    ) -> list[list[Memory] | GenerationRetired]:
        """As `insert`, beside whatever is there already."""
        return await self._insert(connection, calls, terms_of_calls, touches=False)

    async def _insert(
        self,
        connection: Connection,
        calls: Sequence[InsertCall],
        terms_of_calls: Sequence[Sequence[IndexedTerms]],
        touches: bool,
    ) -> list[list[Memory] | GenerationRetired]:
        if not calls:
            return []
        lexicon = await self._terms.adopt(connection)
        rows = _rows(calls, terms_of_calls)
        await self._index.list_large(connection, map(_scope, rows))
        if touches:
            stored = await self._touched_or_added(connection, rows, lexicon)
        else:
            stored = await self._added(connection, rows, lexicon)
        return [
            [stored[memory.id] for memory in call.memories]
            if all(memory.id in stored for memory in call.memories)
            else GenerationRetired()
            for call in calls
        ]

    async def insert_missing(
        self, connection: Connection, call: InsertCall, terms: Sequence[IndexedTerms]
    ) -> list[Imported]:
        """In one commit: what became of each of one agent's memories. Raises GenerationRetired."""
        rows = _rows([call], [terms])
        lexicon = await self._terms.adopt(connection)
        # Of a load of any size, which comes in parts of any size.
        await self._index.list_large(connection, map(_scope, rows), least=1)
        async with connection.transaction():
            found = await self._inserted(connection, rows, lexicon)
            await _hide(connection, call, {UUID(int=row["id"].int) for row in found})
        outcomes = {UUID(int=row["id"].int): Imported.STORED for row in found}
        left = [row.memory.id for row in rows if row.memory.id not in outcomes]
        if left:
            if call.generation != await active_generation(connection):
                raise GenerationRetired
            agent_id = call.memories[0].agent_id
            known = await known_ids(connection, agent_id, left)
            outcomes |= {id_: Imported.THERE if id_ in known else Imported.TAKEN for id_ in left}
        return [outcomes[memory.id] for memory in call.memories]

    async def _touched_or_added(
        self, connection: Connection, rows: Sequence[_Row], lexicon: int
    ) -> dict[UUID, Memory]:
        """By the ids that were asked for, which are not those of memories that were there."""
        alike: dict[Hashable, list[_Row]] = {}
        for row in rows:
            alike.setdefault(row.said, []).append(row)
        firsts = [same[0] for same in alike.values()]
        async with connection.transaction():
            scopes_and_contents = list(zip(*(row.said[:3] for row in firsts), strict=True))
            await connection.execute(sql("lock_contents"), *scopes_and_contents)
            touched = await connection.fetch(
                sql("touch_identical"),
                [row.memory.id for row in firsts],
                *scopes_and_contents,
                [row.memory.importance for row in firsts],
                [row.memory.memory_type for row in firsts],
                [row.memory.metadata for row in firsts],
                [row.memory.created_at for row in firsts],
                [row.memory.expires_at for row in firsts],
                [row.terms.keys_text() for row in firsts],
            )
            stored = {UUID(int=row["asked"].int): memory_of(row) for row in touched}
            new = [row for row in firsts if row.memory.id not in stored]
            if new:
                stored |= await self._added(connection, new, lexicon)
                if len(stored) < len(firsts):
                    raise GenerationRetired
        return {row.memory.id: stored[same[0].memory.id] for same in alike.values() for row in same}

    async def _added(
        self, connection: Connection, rows: Sequence[_Row], lexicon: int
    ) -> dict[UUID, Memory]:
        """By ids; without those of a retired generation."""
        found = await self._inserted(connection, rows, lexicon)
        if len(found) < len(rows):
            ids, agents = zip(*((row.memory.id, row.memory.agent_id) for row in rows), strict=True)
            found = await connection.fetch(sql("select_inserted"), ids, agents)
        return {memory.id: memory for memory in map(memory_of, found)}

    async def _inserted(
        self, connection: Connection, rows: Sequence[_Row], lexicon: int
    ) -> Sequence[Any]:
        """The stored rows of those whose ids were not there."""
        memories = [row.memory for row in rows]
        return await connection.fetch(  # type: ignore[no-any-return]
            sql("insert_memories"),
            [memory.id for memory in memories],
            [memory.agent_id for memory in memories],
            [memory.user_id for memory in memories],
            [memory.content for memory in memories],
            [Vector(row.embedding) for row in rows],  # asyncpg splits arrays
            [row.generation for row in rows],
            [memory.importance for memory in memories],
            [memory.memory_type for memory in memories],
            [memory.metadata for memory in memories],
            [memory.created_at for memory in memories],
            lexicon,
            [row.terms.weights for row in rows],
            [row.terms.keys_text() for row in rows],
            [memory.expires_at for memory in memories],
            [memory.updated_at for memory in memories],
        )


async def known_ids(connection: Connection, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
    """Those that memories of the agent have."""
    rows = await connection.fetch(sql("known_ids"), agent_id, ids)
    return {UUID(int=row["id"].int) for row in rows}


def _scope(row: _Row) -> tuple[str, str]:
    return row.memory.agent_id, row.memory.user_id


def _rows(
    calls: Sequence[InsertCall], terms_of_calls: Sequence[Sequence[IndexedTerms]]
) -> list[_Row]:
    return [
        _Row(memory, embedding, call.generation, terms)
        for call, entries in zip(calls, terms_of_calls, strict=True)
        for memory, embedding, terms in zip(call.memories, call.embeddings, entries, strict=True)
    ]


async def _hide(connection: Connection, call: InsertCall, stored: Collection[UUID]) -> None:
    """Those of the stored that were condensed where they come from."""
    hidden = [m for m in call.memories if m.superseded_by is not None and m.id in stored]
    if hidden:
        ids, summaries = zip(*((m.id, m.superseded_by) for m in hidden), strict=True)
        await connection.execute(sql("hide_imported"), hidden[0].agent_id, ids, summaries)
