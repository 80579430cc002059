"""In-memory stand-ins for the ports, for unit tests. The contract suite holds the store's to what
the Postgres store does."""

import hashlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from itertools import compress
from typing import Any
from uuid import UUID

import numpy as np

from deployments.domain.bm25 import idf
from deployments.domain.errors import (
    GenerationRetired,
    KeyReused,
    MemexError,
    ModelMismatch,
    NotASummary,
    RateLimited,
    Superseded,
    Unavailable,
)
from deployments.domain.overview import (
    COUNTED_OF_ONE,
    COUNTED_OF_TIMELINE,
    DayCounts,
    Tally,
    TallyPage,
    Timeline,
)
from deployments.domain.ranking import fuses_by_rank, lexical_share, score, similarities
from deployments.domain.summaries import Condensation, ScopeToCondense, Source
from deployments.domain.types import (
    Embeddings,
    Explanation,
    ExportPage,
    Imported,
    InsertCall,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryType,
    MemoryVersion,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
    ScoreWeights,
    SearchCall,
    SearchQuery,
    TextKind,
    TextsOfKind,
    WriteKey,
)
from deployments.store.lexicon import Lexicon
from deployments.store.settings import SearchSettings

DIMENSIONS = 384
EXPORTED_AT_ONCE = 3
IDENTITY = ModelIdentity("fake/words", "1", "fp32", DIMENSIONS)


def embed_words(text: str) -> Embeddings:
    """A unit vector in which texts that share words are near."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    for word in text.lower().split() or [text]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        vector += np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


class FakeEmbedder:
    """The BatchedEmbedder port; `down` makes it unavailable. `others` are models that answer beside
    its own."""

    def __init__(self) -> None:
        self.down = False
        self.others: set[ModelIdentity] = set()
        self.calls: list[tuple[list[str], TextKind]] = []

    async def identity(self) -> ModelIdentity:
        if self.down:
            raise Unavailable("embedder")
        return IDENTITY

    async def has(self, identity: ModelIdentity) -> bool:
        return identity in self.others or identity == await self.identity()

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        if self.down or identity not in {IDENTITY, *self.others}:
            raise Unavailable("embedder")
        self.calls.append((list(texts), kind))
        return np.stack([embed_words(text) for text in texts])

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        return np.concatenate([await self.embed(*caller, identity) for caller in callers])


class InMemoryStore:
    """The BatchedMemoryStore port over dicts; `down` makes it unavailable."""

    def __init__(self) -> None:
        self.down = False
        self._rows: dict[UUID, tuple[Memory, Embeddings]] = {}
        self._keys: dict[tuple[str, str], tuple[bytes, list[Memory]]] = {}
        self._versions: dict[UUID, list[MemoryVersion]] = {}
        self._kept: set[UUID] = set()
        self._hits: dict[tuple[str, str], list[float]] = {}
        self._identity: ModelIdentity | None = None
        self._generation = 1
        self._is_reembedded = False
        self._lexicon = Lexicon(SearchSettings())

    async def ping(self) -> None:
        if self.down:
            raise Unavailable("database")
        now = datetime.now(UTC)
        for memory, _ in list(self._rows.values()):
            if memory.expires_at is not None and memory.expires_at <= now:
                self._drop(memory.id)

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        await self.ping()
        if self._identity not in (None, identity) and (self._rows or self._is_reembedded):
            raise ModelMismatch("another model", self._identity)
        self._identity = identity
        return self._generation

    def switch(self, identity: ModelIdentity) -> None:
        """As if all memories had been embedded with that model."""
        self._identity, self._is_reembedded = identity, True
        self._generation += 1

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        await self.ping()
        for agent_id in sorted({memory.agent_id for memory in memories}):
            self._hit(agent_id, limit)
        self._check(generation)
        now = datetime.now(UTC)
        for memory, embedding in zip(memories, embeddings, strict=True):
            stored = Memory(
                id=memory.id,
                agent_id=memory.agent_id,
                user_id=memory.user_id,
                content=memory.content,
                importance=memory.importance,
                memory_type=memory.memory_type,
                metadata=memory.metadata,
                created_at=memory.created_at or now,
                updated_at=memory.updated_at or now,
                expires_at=memory.expires_at,
            )
            self._rows.setdefault(memory.id, (stored, embedding))
        return [self._rows[memory.id][0] for memory in memories]

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        first = self._keys.get((memories[0].agent_id, key.key))
        if first is None:
            self._check(generation)
            stored = await self.insert(memories, embeddings, generation, limit)
            self._keys[memories[0].agent_id, key.key] = (key.fingerprint, stored)
            return stored
        if first[0] != key.fingerprint:
            raise KeyReused(key.key)
        return first[1]

    async def search(
        self, query: SearchQuery, embedding: Embeddings, generation: int, limit: RateLimit | None
    ) -> list[Memory]:
        await self.ping()
        self._hit(query.agent_id, limit)
        self._check(generation)
        now = query.as_of or datetime.now(UTC)
        candidates = [row for row in self._rows.values() if visible(row[0], query)]
        cosines = [float(vector @ embedding) for _, vector in candidates]
        bm25s = self._bm25s(query, [memory for memory, _ in candidates])
        share = lexical_share(query.ranking, self._lexicon.settings.lexical_weight)
        similar = similarities(cosines, bm25s, share, fuses_by_rank(query.ranking))
        hits = []
        for (memory, _), similarity in zip(candidates, similar, strict=True):
            value = score(similarity, memory.created_at, memory.importance, query.ranking, now)
            if query.filters.min_score is None or value >= query.filters.min_score:
                hits.append(replace(memory, score=value))
        if query.explain:
            hits = [replace(hit, explanation=self._explained(hit, query)) for hit in hits]
        hits.sort(key=lambda hit: (hit.score, hit.created_at, hit.id), reverse=True)
        return hits[: query.top_k]

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        return [await _result(InMemoryStore.insert(self, *_arguments(call))) for call in calls]

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | None]:
        return [await _result(InMemoryStore.search(self, *_arguments(call))) for call in calls]

    def _explained(self, hit: Memory, query: SearchQuery) -> Explanation:
        """In shape; the parts are the Postgres store's to tell."""
        terms = self._lexicon.matched_terms(self._lexicon.analyzer.terms(query.text), hit.content)
        return Explanation(0, 0, 0, 0, hit.importance / 2, 0, ScoreWeights(1, 0, 0, 1, 0), terms)

    def _bm25s(self, query: SearchQuery, candidates: Sequence[Memory]) -> list[float]:
        """By the textbook, from every memory's words, without keys or stored weights."""
        analyzer, bm25 = self._lexicon.analyzer, self._lexicon.bm25
        scope = [
            set(analyzer.terms(memory.content))
            for memory, _ in self._rows.values()
            if (memory.agent_id, memory.user_id) == (query.agent_id, query.user_id)
            and memory.superseded_by is None
        ]
        asked = analyzer.terms(query.text)
        values = []
        for memory in candidates:
            terms = analyzer.terms(memory.content)
            values.append(
                sum(
                    idf(len(scope), sum(term in other for other in scope))
                    * bm25.term_weight(terms.count(term), len(terms))
                    for term in asked
                    if term in terms
                )
            )
        return values

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        await self.ping()
        memory, _ = self._rows.get(memory_id, (None, None))
        return memory if memory is not None and memory.agent_id == agent_id else None

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        memory_type: str | None,
        limit: int,
        after: PageKey | None,
        include_superseded: bool = False,
        filters: ListFilters | None = None,
    ) -> Page:
        await self.ping()
        found = sorted(
            (
                memory
                for memory, _ in self._rows.values()
                if memory.agent_id == agent_id
                and user_id in (None, memory.user_id)
                and memory_type in (None, memory.memory_type)
                and (include_superseded or memory.superseded_by is None)
                and (filters is None or passes(memory, filters))
                and (after is None or (memory.created_at, memory.id) < (after.created_at, after.id))
            ),
            key=lambda memory: (memory.created_at, memory.id),
            reverse=True,
        )
        page = found[:limit]
        more = len(found) > limit
        return Page(page, PageKey(page[-1].created_at, page[-1].id) if more else None)

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        memory = await self.get(agent_id, memory_id)
        self._hit(agent_id, limit)
        if generation is not None:
            self._check(generation)
        if memory is None:
            return None
        if memory.superseded_by is not None:
            raise Superseded(str(memory_id), str(memory.superseded_by))
        changes: dict[str, Any] = {
            name: value
            for name in ("content", "importance", "memory_type", "metadata")
            if (value := getattr(patch, name)) is not None
        }
        changed = replace(memory, **changes, updated_at=datetime.now(UTC))
        vector = self._rows[memory_id][1] if embedding is None else embedding
        if patch.expiry is not None:
            changed = replace(changed, expires_at=patch.expiry.at)
            for source in self._sources_of(memory_id):
                self._put(replace(source, expires_at=patch.expiry.at))
        if replace(changed, updated_at=memory.updated_at) != memory:
            versions = self._versions.setdefault(memory_id, [])
            versions.append(
                MemoryVersion(
                    len(versions) + 1,
                    memory.content,
                    memory.importance,
                    memory.memory_type,
                    memory.metadata,
                    memory.expires_at,
                    memory.updated_at,
                    changed.updated_at,
                )
            )
        self._rows[memory_id] = (changed, vector)
        return changed

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        if await self.get(agent_id, memory_id) is None:
            return None
        versions = self._versions.get(memory_id, [])
        return [v for v in reversed(versions) if before is None or v.version < before][:limit]

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        memory = await self.get(agent_id, memory_id)
        if memory is None:
            return False
        for source in self._sources_of(memory_id):
            self._drop(source.id)
        self._drop(memory_id)
        if memory.superseded_by is not None:
            for source in self._sources_of(memory.superseded_by):
                self._put(replace(source, superseded_by=None))
            self._drop(memory.superseded_by)
        return True

    async def forget(self, agent_id: str, user_id: str) -> int:
        await self.ping()
        gone = [
            memory
            for memory, _ in self._rows.values()
            if (memory.agent_id, memory.user_id) == (agent_id, user_id)
        ]
        for memory in gone:
            self._drop(memory.id)
        return sum(memory.superseded_by is None for memory in gone)

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        await self.ping()
        return sum(
            memory.agent_id == agent_id
            and user_id in (None, memory.user_id)
            and (include_superseded or memory.superseded_by is None)
            for memory, _ in self._rows.values()
        )

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        if await self.get(agent_id, memory_id) is None:
            return None
        return self._sources_of(memory_id)

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        if await self.get(agent_id, memory_id) is None:
            return None
        sources = self._sources_of(memory_id)
        if not sources:
            raise NotASummary(str(memory_id))
        self._drop(memory_id)
        restored = [replace(source, superseded_by=None) for source in sources]
        for source in restored:
            self._put(source)
            self._kept.add(source.id)
        return restored

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        await self.ping()
        counts = Counter(
            (memory.agent_id, memory.user_id)
            for memory, _ in self._rows.values()
            if self._is_condensable(memory)
        )
        following = sorted(scope for scope in counts if scope > after)
        return [ScopeToCondense(*scope, counts[scope] > threshold) for scope in following[:limit]]

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        await self.ping()
        found = sorted(
            (
                (memory, vector)
                for memory, vector in self._rows.values()
                if (memory.agent_id, memory.user_id) == (agent_id, user_id)
                and self._is_condensable(memory)
            ),
            key=lambda row: (row[0].created_at, row[0].id),
        )
        return [
            Source(
                memory.id,
                memory.content,
                vector,
                memory.importance,
                memory.metadata,
                memory.created_at,
                memory.updated_at,
            )
            for memory, vector in (found[:limit] if len(found) > threshold else [])
        ]

    async def condense(self, condensation: Condensation) -> Memory | None:
        await self.ping()
        sources = [self._rows.get(source_id, (None,))[0] for source_id, _ in condensation.sources]
        for source, (_, updated_at) in zip(sources, condensation.sources, strict=True):
            if source is None or source.updated_at != updated_at:
                return None
            scope = (condensation.summary.agent_id, condensation.summary.user_id)
            if (source.agent_id, source.user_id) != scope or not self._is_condensable(source):
                return None
        summary = condensation.summary
        (stored,) = await self.insert(
            [summary], condensation.embedding[None], condensation.generation, None
        )
        self._kept.add(stored.id)
        for source in sources:
            assert source is not None
            self._put(replace(source, superseded_by=stored.id))
        return stored

    async def purge_superseded(self, before: datetime) -> int:
        raise NotImplementedError  # nothing here knows when it was condensed

    def _is_condensable(self, memory: Memory) -> bool:
        return (
            memory.memory_type == MemoryType.EPISODIC
            and memory.superseded_by is None
            and memory.expires_at is None
            and memory.id not in self._kept
        )

    def _sources_of(self, summary_id: UUID) -> list[Memory]:
        found = (memory for memory, _ in self._rows.values() if memory.superseded_by == summary_id)
        return sorted(found, key=lambda memory: (memory.created_at, memory.id))

    def _drop(self, memory_id: UUID) -> None:
        """With all that is known of it."""
        del self._rows[memory_id]
        self._versions.pop(memory_id, None)
        self._kept.discard(memory_id)

    def _put(self, memory: Memory) -> None:
        self._rows[memory.id] = (memory, self._rows[memory.id][1])

    def _check(self, generation: int) -> None:
        if generation != self._generation:
            raise GenerationRetired

    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        page = await self.list_page(agent_id, user_id, None, len(self._rows), None, True)
        memories = page.memories
        for start in range(0, max(1, len(memories)), EXPORTED_AT_ONCE):
            yield ExportPage(len(memories), memories[start : start + EXPORTED_AT_ONCE])

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        await self.ping()
        return {id_ for id_ in ids if id_ in self._rows and self._rows[id_][0].agent_id == agent_id}

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Imported]:
        known = await self.known(memories[0].agent_id, [memory.id for memory in memories])
        taken = self._rows.keys() - known
        missing = [memory.id not in self._rows for memory in memories]
        self._hit(memories[0].agent_id, limit)
        new = list(compress(memories, missing))
        await self.insert(new, embeddings[missing], generation, None)
        for memory in new:
            summary, _ = self._rows.get(memory.superseded_by or memory.id, (None, None))
            if (
                summary is not None
                and summary.id != memory.id
                and ((summary.agent_id, summary.user_id) == (memory.agent_id, memory.user_id))
            ):
                self._put(replace(self._rows[memory.id][0], superseded_by=summary.id))
        return [
            Imported.THERE if memory.id in known
            else Imported.TAKEN if memory.id in taken
            else Imported.STORED
            for memory in memories
        ]  # fmt: skip

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        await self.ping()
        shown = [memory for memory, _ in self._rows.values() if memory.superseded_by is None]
        return tallied([memory.agent_id for memory in shown], limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        await self.ping()
        memories = [
            memory
            for memory, _ in self._rows.values()
            if memory.agent_id == agent_id and memory.superseded_by is None
        ]
        return tallied([memory.user_id for memory in memories], limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        await self.ping()
        days = sorted(
            (
                (memory.created_at.astimezone(UTC).date(), memory.memory_type)
                for memory, _ in self._rows.values()
                if memory.agent_id == agent_id
                and user_id in (None, memory.user_id)
                and memory.superseded_by is None
            ),
            reverse=True,
        )
        found = [entry for entry in days if entry[0] >= since]
        counted = found[: COUNTED_OF_TIMELINE + 1]
        is_whole = counted == found and len(found) <= COUNTED_OF_TIMELINE
        first = since if is_whole else counted[-1][0]
        return Timeline(
            first,
            [
                DayCounts(
                    day,
                    *(counted.count((day, memory_type)) for memory_type in MemoryType),
                    is_exact=is_whole or day > first,
                )
                for day in sorted({day for day, _ in counted})
            ],
        )

    def _hit(self, agent_id: str, limit: RateLimit | None) -> None:
        if limit is None:
            return
        now = time.monotonic()
        live = [at for at in self._hits.get((agent_id, limit.operation), []) if at > now - 60]
        if len(live) >= limit.per_minute:
            retry_after_s = live[-limit.per_minute] + 60 - now
            raise RateLimited(agent_id, limit.operation, limit.per_minute, retry_after_s)
        self._hits[(agent_id, limit.operation)] = [*live, now]


def tallied(ids: Sequence[str], limit: int, after: str | None) -> TallyPage:
    counts = Counter(id_ for id_ in ids if after is None or id_ > after)
    page = [
        Tally(id_, min(counts[id_], COUNTED_OF_ONE), counts[id_] <= COUNTED_OF_ONE)
        for id_ in sorted(counts)[:limit]
    ]
    return TallyPage(page, page[-1].id if len(counts) > limit else None)


def passes(memory: Memory, filters: ListFilters) -> bool:
    return (
        (filters.metadata is None or contains(memory.metadata, filters.metadata))
        and (filters.created_after is None or memory.created_at > filters.created_after)
        and (filters.created_before is None or memory.created_at < filters.created_before)
    )


def visible(memory: Memory, query: SearchQuery) -> bool:
    filters = query.filters
    return (
        (memory.agent_id, memory.user_id) == (query.agent_id, query.user_id)
        and filters.memory_type in (None, memory.memory_type)
        and (filters.metadata is None or contains(memory.metadata, filters.metadata))
        and (filters.created_after is None or memory.created_at > filters.created_after)
        and (filters.created_before is None or memory.created_at < filters.created_before)
        and (query.as_of is None or memory.created_at <= query.as_of)
        and (query.include_superseded or memory.superseded_by is None)
    )


def contains(value: Any, part: Any) -> bool:
    """JSON containment as Postgres's `@>` has it, for objects, arrays and scalars."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            key in value and contains(value[key], item) for key, item in part.items()
        )
    if isinstance(part, list):
        return isinstance(value, list) and all(
            any(contains(entry, item) for entry in value) for item in part
        )
    return bool(value == part and isinstance(value, bool) == isinstance(part, bool))


def _arguments(call: InsertCall | SearchCall) -> list[Any]:
    return [getattr(call, field.name) for field in fields(call)]


async def _result(call: Awaitable[list[Memory]]) -> list[Memory] | MemexError:
    try:
        return await call
    except MemexError as error:
        return error
