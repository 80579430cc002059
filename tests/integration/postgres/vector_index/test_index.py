"""Which memories are in the vector index: all of the scopes that were found to be large."""

import asyncpg
import pytest

from deployments.domain.memories import Memory, MemoryPatch, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from tests.support.postgres.indexing import LARGE_FROM_100, indexed_flags, is_filled, new_memories
from tests.support.postgres.memories import explain, fill, unit_vectors

QUERY = SearchQuery("agent", "user", "memory 7", ranking=Ranking(1.0, mode="semantic"))


def score_of(hit: Memory) -> float:
    assert hit.score is not None
    return hit.score


async def write_in_small_batches(store: PostgresStore, count: int) -> int:
    """Insert so few at a time that no insert checks the scope's size. Returns the generation."""
    for start in range(0, count, 50):
        _, _, generation = await fill(store, min(50, count - start))
    return generation


async def test_memories_of_small_scopes_are_not_indexed(pool: Pool, store: PostgresStore) -> None:
    _, vectors, generation = await fill(store, 100)
    assert await store.searches.search(QUERY, vectors[0], generation, None)
    await store.upkeep.fill_vector_index()
    assert await is_filled(pool) is None
    assert await indexed_flags(pool) == [False] * 100


async def test_search_that_finds_a_scope_large_has_it_indexed(
    pool: Pool, store: PostgresStore
) -> None:
    generation = await write_in_small_batches(store, 150)
    vector = unit_vectors(1)[0]
    before = await store.searches.search(QUERY, vector, generation, None)
    assert await is_filled(pool) is False
    assert await indexed_flags(pool) == [False] * 150  # until filled, it is scored whole
    await fill(store, 50)
    assert sorted(await indexed_flags(pool)) == [False] * 150 + [True] * 50
    await store.upkeep.fill_vector_index()
    assert await is_filled(pool) is True
    assert await indexed_flags(pool) == [True] * 200
    after = await store.searches.search(QUERY, vector, generation, None)
    lowest = score_of(after[-1])
    lost = {hit.id for hit in before} - {hit.id for hit in after}
    assert lost <= {hit.id for hit in before if score_of(hit) <= lowest}


async def test_bulk_insert_into_a_large_scope_is_indexed_at_once(
    pool: Pool, store: PostgresStore
) -> None:
    await fill(store, 101)
    assert await is_filled(pool) is None
    await fill(store, 64)  # the scope is large by now
    assert sorted(await indexed_flags(pool)) == [False] * 101 + [True] * 64
    await fill(store, 300, "other")
    await fill(store, 63, "other")  # too few to check the scope's size
    assert await is_filled(pool, "other") is None


async def test_touched_and_changed_memories_stay_indexed(pool: Pool) -> None:
    store = build_store(pool, LARGE_FROM_100, dedup="touch")
    stored, vectors, generation = await fill(store, 20)
    async with pool.acquire() as connection:
        await connection.execute(*sql.list_scope(agent_id="agent", user_id="user"))
    identical = [
        NewMemory(uuid7(), "agent", "user", m.content, m.importance, m.memory_type, m.metadata)
        for m in stored[:3]
    ]
    await store.inserts.insert(identical, vectors[:3], generation, None)
    assert sum(await indexed_flags(pool)) == 3
    await store.upkeep.fill_vector_index()
    for memory in stored[5:8]:
        patch = MemoryPatch(content=f"{memory.content}, changed")
        await store.memories.update("agent", memory.id, patch, unit_vectors(1)[0], generation, None)
    assert await indexed_flags(pool) == [True] * 20


async def test_import_checks_the_scope_size_however_few_memories_it_inserts(
    pool: Pool, store: PostgresStore
) -> None:
    _, vectors, generation = await fill(store, 101)
    await store.transfers.insert_missing(new_memories(3), vectors[:3], generation, None)
    assert sorted(await indexed_flags(pool)) == [False] * 101 + [True] * 3


async def test_filling_a_scope_reads_no_other_users_memories(
    pool: Pool, store: PostgresStore
) -> None:
    for user in ("user", "other", "another"):
        await fill(store, 300, user)
    async with pool.acquire() as connection:
        await connection.execute("vacuum analyze memories")
    plan = await explain(
        pool,
        *sql.fill_index(
            agent_id="agent",
            user_id="user",
            after_created_at=None,
            after_id=None,
            max_rows=50,
        ),
    )
    assert "memories_scope" in plan
    assert "memories_superseded" in plan
    assert "memories_agent" not in plan


async def test_migration_11_indexes_scopes_that_are_already_large(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    try:
        earlier = [migration for migration in read_migrations() if migration.version < 11]
        await migrate(connection, earlier)
        await connection.execute("select set_embedding_dimensions(2)")
        # An index on ids in place of the HNSW index, which takes long to build.
        await connection.execute("drop index memories_embedding")
        await connection.execute("create index memories_embedding on memories (id)")
        for user, count in (("large", 20_001), ("small", 20_000)):
            await connection.execute(
                "insert into memories (id, agent_id, user_id, content, embedding, importance, "
                "memory_type, metadata, created_at, updated_at) select gen_random_uuid(), "
                "'agent', $1, 'text', array[random(), 1]::vector, 1, 'episodic', '{}', now(), "
                "now() from generate_series(1, $2)",
                user,
                count,
            )
        await migrate(connection, read_migrations())
        counts = await connection.fetch(
            "select user_id, indexed, count(*) from memories group by 1, 2 order by 1"
        )
        assert [tuple(row) for row in counts] == [("large", True, 20_001), ("small", False, 20_000)]
        assert await connection.fetch("select user_id, is_filled from indexed_scopes") == [
            ("large", True)
        ]
        assert await connection.fetchval(
            "select reltuples from pg_class where relname = 'memories_embedding'"
        ) == pytest.approx(20_001)
        disabled = "select count(*) from pg_trigger where not tgisinternal and tgenabled <> 'O'"
        assert await connection.fetchval(disabled) == 0
    finally:
        await connection.close()
