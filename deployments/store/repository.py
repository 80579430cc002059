"""The memory store on Postgres: one method per statement, each within its scope."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import date
from itertools import compress
from typing import Any
from uuid import UUID

from deployments.domain.errors import GenerationRetired, MemexError, Superseded
from deployments.domain.overview import TallyPage, Timeline
from deployments.domain.types import (
    Embeddings,
    ExportPage,
    Imported,
    InsertCall,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
    SearchCall,
    SearchQuery,
    WriteKey,
)
from deployments.store import overview
from deployments.store.exports import Exports
from deployments.store.generations import active_generation, adopt_generation
from deployments.store.idempotency import write_once
from deployments.store.inserts import Inserts, known_ids
from deployments.store.lexicon import Lexicon
from deployments.store.limits import hit_each, hit_together
from deployments.store.maintenance import PostgresMaintenance
from deployments.store.pool import Connection, Pool
from deployments.store.queries import sql
from deployments.store.rows import memory_of, version_of
from deployments.store.search import Search
from deployments.store.settings import FORGET_TIMEOUT_S, Dedup, SearchSettings, StoreSettings
from deployments.store.summaries import PostgresSummaries, undo_without
from deployments.store.upkeep import TermsUpkeep
from deployments.store.vector_index import VectorIndex


class PostgresMemoryStore(PostgresSummaries, PostgresMaintenance):
    """Implements the BatchedMemoryStore and the SummaryStore ports."""

    def __init__(
        self,
        pool: Pool,
        settings: StoreSettings,
        search: SearchSettings | None = None,
        count: Callable[[str, int], None] = lambda _operation, _memories: None,
        dedup: Dedup = "off",
    ) -> None:
        self._pool = pool
        self._lexicon = Lexicon(search or SearchSettings())
        self._index = VectorIndex(settings.exact_search_rows)
        self._search = Search(settings, self._lexicon, self._index)
        self._terms = TermsUpkeep(self._lexicon)
        self._inserts = Inserts(self._lexicon, self._terms, self._index, dedup)
        self._count = count
        self._exports = Exports(pool, settings, count)

    async def ping(self) -> None:
        async with self._pool.acquire() as connection:
            await connection.fetchval("select 1")

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        async with self._pool.acquire() as connection:
            return await adopt_generation(connection, identity)

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        call = InsertCall(memories, embeddings, generation, limit)
        agent_ids = {memory.agent_id for memory in memories}
        if limit is None or len(agent_ids) == 1:
            return _result(*await self.insert_each([call]))
        terms = await self._inserts.index([call])
        async with self._pool.acquire() as connection:
            await hit_together(connection, agent_ids, limit)
            (stored,) = await self._inserts.insert(connection, [call], terms)
        memories_stored = _result(stored)
        self._count("insert", len(memories_stored))
        return memories_stored

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        terms = await self._inserts.index(calls)
        async with self._pool.acquire() as connection:
            refusals = await hit_each(
                connection, [(call.memories[0].agent_id, call.limit) for call in calls]
            )
            let_in = [refusal is None for refusal in refusals]
            stored = await self._inserts.insert(
                connection, list(compress(calls, let_in)), list(compress(terms, let_in))
            )
        self._count("insert", sum(len(part) for part in stored if isinstance(part, list)))
        rest = iter(stored)
        return [refusal or next(rest) for refusal in refusals]

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        call = InsertCall(memories, embeddings, generation, limit)
        terms = await self._inserts.index([call])
        async with self._pool.acquire() as connection:
            await self._terms.adopt(connection)  # which must not be undone with the write

            async def write() -> list[Memory]:
                (refusal,) = await hit_each(connection, [(memories[0].agent_id, limit)])
                if refusal is not None:
                    raise refusal
                (found,) = await self._inserts.insert(connection, [call], terms)
                stored = _result(found)
                self._count("insert", len(stored))
                return stored

            return await write_once(connection, key, memories, write)

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        (found,) = await self.search_each([SearchCall(query, embedding, generation, limit)])
        assert found is not None  # there are no others
        return _result(found)

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | None]:
        async with self._pool.acquire() as connection:
            refusals = await hit_each(
                connection, [(call.query.agent_id, call.limit) for call in calls]
            )
            let_in = [refusal is None for refusal in refusals]
            searches = await self._search.prepare(connection, list(compress(calls, let_in)))
            found = await self._search.hits_each(connection, searches)
        self._count("search", sum(isinstance(hits, list) for hits in found))
        rest = iter(found)
        return [refusal or next(rest) for refusal in refusals]

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(sql("get_memory"), agent_id, memory_id)
        return None if row is None else memory_of(row)

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
        filters = filters or ListFilters()
        key = (None, None) if after is None else (after.created_at, after.id)
        one_more = limit + 1  # tells whether there is a next page
        name, scope = "list_of_agent", [agent_id]
        if user_id is not None:
            name, scope = "list_of_user", [agent_id, user_id]
        bounds = (filters.created_after, filters.created_before)
        arguments = (*scope, memory_type, one_more, *key, filters.metadata, *bounds)
        arguments = (*arguments, include_superseded)
        async with self._pool.acquire() as connection:
            if filters.metadata is None:
                rows = await connection.fetch(sql(name), *arguments)
            else:  # whose index pays where it leaves few
                async with connection.transaction(readonly=True):
                    await connection.execute(sql("plan_for_values"))
                    rows = await connection.fetch(sql(name), *arguments)
        memories = [memory_of(row) for row in rows[:limit]]
        more = len(rows) > limit
        next_key = PageKey(memories[-1].created_at, memories[-1].id) if more else None
        return Page(memories, next_key)

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        async with self._pool.acquire() as connection:
            (refusal,) = await hit_each(connection, [(agent_id, limit)])
            if refusal is not None:
                raise refusal
            row = await self._updated(connection, agent_id, memory_id, patch, embedding, generation)
            if row is None:
                row = await connection.fetchrow(sql("get_memory"), agent_id, memory_id)
                if row is not None and row["superseded_by"] is not None:
                    raise Superseded(str(memory_id), str(row["superseded_by"]))
                if generation not in (None, await active_generation(connection)):
                    raise GenerationRetired
                return None
        self._count("update", 1)
        return memory_of(row)

    async def _updated(
        self,
        connection: Connection,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
    ) -> Any:
        """The row, as it is then; None where there is none that may be changed."""
        lexicon, terms, keys = None, None, None
        if patch.content is not None or patch.expiry is not None:
            user_id = await connection.fetchval(sql("user_of"), agent_id, memory_id)
            if user_id is None:
                return None
        if patch.content is not None:
            lexicon = await self._terms.adopt(connection)
            indexed = self._lexicon.index(agent_id, user_id, patch.content)
            terms, keys = indexed.weights, indexed.keys
        arguments = (
            agent_id,
            memory_id,
            patch.content,
            embedding,
            generation,
            patch.importance,
            patch.memory_type,
            patch.metadata,
            lexicon,
            terms,
            keys,
        )
        if patch.expiry is None:
            return await connection.fetchrow(sql("update_memory"), *arguments, False, None)
        async with connection.transaction():
            await connection.execute(sql("lock_scope"), agent_id, user_id)
            at = patch.expiry.at
            row = await connection.fetchrow(sql("update_memory"), *arguments, True, at)
            await connection.execute(sql("expire_sources"), agent_id, memory_id, at)
        return row

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                sql("memory_versions"), agent_id, memory_id, before, limit
            )
        versions = [version_of(row) for row in rows if row["version"] is not None]
        return versions if rows else None

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        async with self._pool.acquire() as connection:
            user_id = await connection.fetchval(sql("owner_of"), agent_id, memory_id)
            if user_id is None:
                return False
            async with connection.transaction():
                await connection.execute(sql("lock_scope"), agent_id, user_id)
                found = await connection.fetchrow(sql("delete_memory"), agent_id, memory_id)
                if found is not None and found["superseded_by"] is not None:
                    await undo_without(connection, agent_id, found["superseded_by"])
        self._count("delete", 0 if found is None else 1)
        return found is not None

    async def forget(self, agent_id: str, user_id: str) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(sql("lock_scope"), agent_id, user_id)
            deleted = int(
                await connection.fetchval(
                    sql("forget_scope"), agent_id, user_id, timeout=FORGET_TIMEOUT_S
                )
            )
        self._count("delete", deleted)
        return deleted

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        async with self._pool.acquire() as connection:
            if user_id is None:
                count = await connection.fetchval(
                    sql("count_of_agent"), agent_id, include_superseded
                )
            else:
                count = await connection.fetchval(
                    sql("count_of_user"), agent_id, user_id, include_superseded
                )
        return int(count)

    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        async with aclosing(self._exports.pages(agent_id, user_id)) as pages:
            async for page in pages:
                yield page

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        async with self._pool.acquire() as connection:
            return await known_ids(connection, agent_id, ids)

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Imported]:
        call = InsertCall(memories, embeddings, generation, limit)
        (terms,) = await self._inserts.index([call])
        async with self._pool.acquire() as connection:
            (refusal,) = await hit_each(connection, [(memories[0].agent_id, limit)])
            if refusal is not None:
                raise refusal
            outcomes = await self._inserts.insert_missing(connection, call, terms)
        self._count("import", outcomes.count(Imported.STORED))
        return outcomes

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        async with self._pool.acquire() as connection:
            return await overview.agents(connection, limit, after)

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        async with self._pool.acquire() as connection:
            return await overview.users(connection, agent_id, limit, after)

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        async with self._pool.acquire() as connection:
            return await overview.timeline(connection, agent_id, user_id, since)


def _result(found: list[Memory] | MemexError) -> list[Memory]:
    if isinstance(found, MemexError):
        raise found
    return found
