"""The quotas that every store reports when it counts calls."""

import numpy as np
import pytest

from deployments.domain.errors import RateLimited
from deployments.domain.memories import InsertCall, MemoryPatch, NewMemory, WriteKey
from deployments.domain.ports.store import BatchedStore
from deployments.domain.rate_limits import Quota, RateLimit
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from tests.support.fakes.embedder import IDENTITY, embed_words

WRITES, SEARCHES = RateLimit("write", 7), RateLimit("search", 2)
VECTOR = embed_words("x")


def new(*agents: str) -> list[NewMemory]:
    return [NewMemory(uuid7(), agent, "user", "x") for agent in agents]


async def test_each_counted_call_reports_what_is_left(
    counting_store: BatchedStore, quotas: list[Quota]
) -> None:
    store, vectors = counting_store, np.stack([VECTOR])
    generation = await store.generations.adopt_generation(IDENTITY)
    (memory,) = await store.inserts.insert(new("a"), vectors, generation, WRITES)
    calls = [InsertCall(new("a"), vectors, generation, limit) for limit in (WRITES, None)]
    await store.inserts.insert_each(calls)
    key = WriteKey("k", b"1")
    for _ in range(2):  # the second is not made
        await store.inserts.insert_once(new("a"), vectors, generation, WRITES, key)
    patch = MemoryPatch(importance=2.0)
    await store.memories.update("a", memory.id, patch, None, None, WRITES)
    change, key = ("a", memory.id, patch, None, None), WriteKey("change", b"1")
    for _ in range(2):
        await store.keyed_writes.update_once(*change, WRITES, key)
    await store.transfers.insert_missing(new("a"), vectors, generation, WRITES)
    assert [quota.remaining for quota in quotas] == [6, 5, 4, 3, 2, 1]
    assert {(quota.agent_id, quota.limit) for quota in quotas} == {("a", WRITES)}
    resets_s = [quota.reset_s for quota in quotas]
    assert resets_s == sorted(resets_s, reverse=True)  # each until the first call is a minute old
    assert 50 < resets_s[-1] < resets_s[0] <= 60


async def test_refused_and_uncounted_calls(
    counting_store: BatchedStore, quotas: list[Quota]
) -> None:
    generation = await counting_store.generations.adopt_generation(IDENTITY)
    search, query = counting_store.searches.search, SearchQuery("a", "user", "x")
    await search(query, VECTOR, generation, None)
    assert quotas == []
    for _ in range(2):
        await search(query, VECTOR, generation, SEARCHES)
    with pytest.raises(RateLimited) as refused:
        await search(query, VECTOR, generation, SEARCHES)
    assert [quota.remaining for quota in quotas] == [1, 0, 0]
    assert quotas[-1].reset_s == pytest.approx(refused.value.retry_after_s, abs=0.2)


async def test_batch_of_several_agents_reports_each_of_them(
    counting_store: BatchedStore, quotas: list[Quota]
) -> None:
    generation = await counting_store.generations.adopt_generation(IDENTITY)
    memories = new("b", "a", "a")
    vectors = np.stack([VECTOR] * 3)
    await counting_store.inserts.insert(memories, vectors, generation, WRITES)
    assert [(quota.agent_id, quota.remaining) for quota in quotas] == [("a", 6), ("b", 6)]
