"""Rate limits in the database."""

import asyncio

import pytest

from deployments.domain.errors import RateLimited
from deployments.domain.memories import NewMemory
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.memories.rate_limits import RateLimits
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.memories import unit_vectors

LIMITS = RateLimits(lambda _quota: None)


async def test_each_call_counts_for_60_seconds(pool: Pool, postgres_store: PostgresStore) -> None:
    """The window slides: no counter is reset each minute."""
    ages_s = [59.0, 40.0, 1.0]
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into rate_limits values ('agent', 'write', (select array_agg(clock_timestamp() "
            "- make_interval(secs => age) order by age desc) from unnest($1::float8[]) age), 1)",
            ages_s,
        )
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    limit = RateLimit("write", 3)

    async def write() -> None:
        memory = NewMemory(uuid7(), "agent", "u", "x")
        await postgres_store.inserts.insert([memory], unit_vectors(1), generation, limit)

    with pytest.raises(RateLimited) as error:
        await write()
    assert error.value.retry_after_s == pytest.approx(1.0, abs=0.5)
    await asyncio.sleep(error.value.retry_after_s + 0.05)
    await write()
    with pytest.raises(RateLimited) as error:
        await write()
    assert 15 < error.value.retry_after_s < 20


async def test_lowered_limit_counts_only_as_many_calls_as_it_allows(pool: Pool) -> None:
    async with pool.acquire() as connection:
        for _ in range(5):
            assert await LIMITS.hit_each(connection, [("agent", RateLimit("write", 10))]) == [None]
        (refusal,) = await LIMITS.hit_each(connection, [("agent", RateLimit("write", 2))])
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(60, abs=1)


async def test_calls_in_one_batch_are_counted_separately(pool: Pool) -> None:
    writes, searches = RateLimit("write", 3), RateLimit("search", 2)
    calls = [("a", writes), ("b", writes), ("a", None), *[("a", searches), ("a", writes)] * 3]
    async with pool.acquire() as connection:
        refusals = await LIMITS.hit_each(connection, calls)
        next_refusals = await LIMITS.hit_each(
            connection, [("a", writes), ("b", writes), ("a", searches)]
        )
        none = await LIMITS.hit_each(connection, [])
    operations = [None if refusal is None else refusal.operation for refusal in refusals]
    assert operations == [None] * 3 + [None, None, None, None, "search", "write"]
    assert {refusal.retry_after_s for refusal in refusals if refusal} <= {59.9, 60.0}
    assert [refusal is not None for refusal in next_refusals] == [True, False, True]
    assert none == []


async def test_batches_in_opposite_orders_do_not_deadlock(pool: Pool) -> None:
    agents = [f"agent {n}" for n in range(20)]
    limit = RateLimit("write", 6_000)

    async def hit(names: list[str]) -> None:
        for _ in range(20):
            async with pool.acquire() as connection:
                await LIMITS.hit_each(connection, [(name, limit) for name in names])

    await asyncio.gather(*(hit(agents[::step]) for step in (1, -1) * 4))
    async with pool.acquire() as connection:
        rows = await connection.fetch("select cardinality(hits) as hits from rate_limits")
    assert [row["hits"] for row in rows] == [160] * 20


async def test_concurrent_calls_of_two_replicas_are_counted_exactly(dsn: str) -> None:
    pools = [Pool(dsn, StoreSettings()) for _ in range(2)]
    stores = [build_store(pool, StoreSettings()) for pool in pools]
    generation = await stores[0].generations.adopt_generation(IDENTITY)
    limit = RateLimit("search", 37)
    query, vector = SearchQuery("agent", "u", "q"), unit_vectors(1)[0]
    results = await asyncio.gather(
        *(stores[n % 2].searches.search(query, vector, generation, limit) for n in range(100)),
        return_exceptions=True,
    )
    errors = [result for result in results if isinstance(result, Exception)]
    assert len(errors) == 63
    assert all(isinstance(error, RateLimited) for error in errors)
    for pool in pools:
        await pool.close()


async def test_refused_batch_is_not_counted_for_any_agent(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    limit = RateLimit("write", 1)

    async def write(*agents: str) -> None:
        memories = [NewMemory(uuid7(), agent, "u", "x") for agent in agents]
        await postgres_store.inserts.insert(memories, unit_vectors(len(agents)), generation, limit)

    await write("b")
    with pytest.raises(RateLimited) as error:
        await write("a", "b")
    assert error.value.agent_id == "b"
    await write("a")


async def test_old_counters_are_purged(pool: Pool, postgres_store: PostgresStore) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into rate_limits values "
            "('old', 'write', array[now() - interval '2 minutes'], 1), "
            "('live', 'write', array[now() - interval '2 minutes', now()], 1)"
        )
        await postgres_store.upkeep.purge_rate_limits()
        rows = await connection.fetch("select agent_id from rate_limits")
    assert [row["agent_id"] for row in rows] == ["live"]
