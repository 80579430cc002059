"""What a pool tells of its statements and connections."""

from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import build_store
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.memories import fill


async def test_statements_are_timed_under_their_names(dsn: str) -> None:
    took_s: dict[str, float] = {}
    pool = Pool(dsn, StoreSettings(max_pool_size=1), observe=took_s.__setitem__)
    try:
        assert pool.sizes() == (0, 0)
        store = build_store(pool, StoreSettings(max_pool_size=1))
        await store.generations.adopt_generation(IDENTITY)
        await fill(store, 1, vectors=embed_words("memory")[None])
        for _ in range(3):  # the connection is released in between
            await store.memories.count("agent", "user")
        async with pool.acquire() as connection:
            took_s.clear()
            await connection.fetchval("select pg_sleep(0.05)")
            assert pool.sizes() == (1, 0)
        await store.memories.count("agent", "user")
        assert pool.sizes() == (1, 1)
    finally:
        await pool.close()
    assert took_s.keys() == {"other", "count_of_user"}
    assert took_s["other"] >= 0.05
