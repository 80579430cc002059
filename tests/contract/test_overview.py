"""The Overview port of every store: agents, users, timelines; and the filters of listings."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deployments.domain.memories import ListFilters, MemoryType, NewMemory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.overview import DayCounts, Tally, TallyPage, Timeline
from deployments.domain.ports.store import BatchedStore
from deployments.runtime.ids import uuid7
from tests.support.fakes.embedder import IDENTITY, embed_words

NOW = datetime.now(UTC)


async def add(store: BatchedStore, agent: str, user: str, count: int = 1, **fields: Any) -> None:
    generation = await store.generations.adopt_generation(IDENTITY)
    memories = [NewMemory(uuid7(), agent, user, f"m {n}", **fields) for n in range(count)]
    vectors = np.stack([embed_words("m")] * count)
    await store.inserts.insert(memories, vectors, generation, None)


async def test_agents_and_users_are_listed_with_counts(store: BatchedStore) -> None:
    assert await store.overview.list_agents(10, None) == TallyPage([], None)
    assert await store.overview.list_users("alpha", 10, None) == TallyPage([], None)
    await add(store, "beta", "ben", 2)
    await add(store, "alpha", "ben", 3)
    await add(store, "alpha", "ana")
    await add(store, "alpha/beta", "ana/ben")
    assert await store.overview.list_agents(10, None) == TallyPage(
        [Tally("alpha", 4, True), Tally("alpha/beta", 1, True), Tally("beta", 2, True)], None
    )
    users = TallyPage([Tally("ana", 1, True), Tally("ben", 3, True)], None)
    assert await store.overview.list_users("alpha", 10, None) == users
    assert (await store.overview.list_users("alph", 10, None)).tallies == []
    await store.memories.forget("alpha", "ben")
    assert (await store.overview.list_users("alpha", 10, None)).tallies == [Tally("ana", 1, True)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_agents_and_users_are_paged(store: BatchedStore, limit: int) -> None:
    names = [f"name {n}" for n in range(7)]
    for name in reversed(names):
        await add(store, name, "user", 2)
        await add(store, "agent", name)

    async def list_all(agent: str | None) -> tuple[list[str], int]:
        ids: list[str] = []
        after, pages = None, 0
        while True:
            page = await (
                store.overview.list_agents(limit, after)
                if agent is None
                else store.overview.list_users(agent, limit, after)
            )
            assert len(page.tallies) <= limit
            ids += [tally.id for tally in page.tallies]
            after, pages = page.next_after, pages + 1
            if after is None:
                return ids, pages

    assert await list_all(None) == (["agent", *names], -(-8 // limit))
    assert await list_all("agent") == (names, -(-7 // limit))


async def test_counts_above_the_bound_are_marked_inexact(
    store_with_low_bounds: BatchedStore,
) -> None:
    for user, count in (("a", 2), ("b", 3), ("c", 4)):
        await add(store_with_low_bounds, "agent", user, count)
    users = await store_with_low_bounds.overview.list_users("agent", 10, None)
    assert users.tallies == [Tally("a", 2, True), Tally("b", 3, True), Tally("c", 3, False)]
    assert (await store_with_low_bounds.overview.list_agents(10, None)).tallies == [
        Tally("agent", 3, False)
    ]


async def test_expired_memories_are_not_counted(store_with_low_bounds: BatchedStore) -> None:
    expired = NOW - timedelta(seconds=1)
    await add(store_with_low_bounds, "agent", "both", 2)
    await add(store_with_low_bounds, "agent", "both", 9, expires_at=expired)
    await add(store_with_low_bounds, "agent", "expired", 5, expires_at=expired)
    await add(store_with_low_bounds, "agent", "later", expires_at=NOW + timedelta(days=1))
    await add(store_with_low_bounds, "gone", "expired", expires_at=expired)
    users = await store_with_low_bounds.overview.list_users("agent", 10, None)
    assert users.tallies == [Tally("both", 2, True), Tally("later", 1, True)]
    assert (await store_with_low_bounds.overview.list_agents(10, None)).tallies == [
        Tally("agent", 3, True)
    ]
    timeline = await store_with_low_bounds.overview.timeline(
        "agent", None, NOW.date() - timedelta(days=1)
    )
    assert sum(day.episodic for day in timeline.days) == 3


async def test_timeline_counts_days_by_type(store: BatchedStore) -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    instant = timedelta(microseconds=1)
    semantic = {"memory_type": MemoryType.SEMANTIC}
    await add(store, "agent", "ana", 2, created_at=midnight)
    await add(store, "agent", "ana", 3, created_at=midnight - instant, **semantic)
    await add(store, "agent", "ben", 4, created_at=midnight - timedelta(days=2))
    await add(store, "agent", "ana", created_at=midnight - timedelta(days=2) - instant)
    await add(store, "other", "ana", created_at=midnight)
    today = midnight.date()
    day = [today - timedelta(days=n) for n in range(4)]
    mine = [DayCounts(day[1], 0, 3, 0, True), DayCounts(day[0], 2, 0, 0, True)]
    assert await store.overview.timeline("agent", "ana", day[2]) == Timeline(day[2], mine)
    everyone = [DayCounts(day[2], 4, 0, 0, True), *mine]
    assert await store.overview.timeline("agent", None, day[2]) == Timeline(day[2], everyone)
    timeline = await store.overview.timeline("agent", "ana", day[3])
    assert timeline.days == [DayCounts(day[3], 1, 0, 0, True), *mine]
    assert await store.overview.timeline("nobody", None, day[3]) == Timeline(day[3], [])


@pytest.mark.parametrize("user", ["user", None])
async def test_timeline_beyond_its_bound_begins_later_with_an_inexact_day(
    store_with_low_bounds: BatchedStore, user: str | None
) -> None:
    noon = NOW.replace(hour=0, minute=0) - timedelta(hours=12)
    since = noon.date() - timedelta(days=9)
    await add(store_with_low_bounds, "agent", "user", 2, created_at=noon)
    await add(store_with_low_bounds, "agent", "user", 2, created_at=noon - timedelta(days=1))
    whole = await store_with_low_bounds.overview.timeline("agent", user, since)
    assert whole.since == since
    assert [day.is_exact for day in whole.days] == [True, True]
    await add(store_with_low_bounds, "agent", "user", 2, created_at=noon - timedelta(days=1))
    await add(store_with_low_bounds, "agent", "user", 2, created_at=noon - timedelta(days=2))
    part = await store_with_low_bounds.overview.timeline("agent", user, since)
    assert part.since == noon.date() - timedelta(days=1)
    assert [(day.day, day.is_exact) for day in part.days] == [
        (part.since, False),
        (noon.date(), True),
    ]
    assert part.days[1].episodic == 2
    assert 2 <= part.days[0].episodic <= 4


@pytest.mark.parametrize("user", ["user", None])
async def test_list_filters_by_metadata_and_time(store: BatchedStore, user: str | None) -> None:
    ages = {n: NOW - timedelta(days=n) for n in range(6)}
    for n, created_at in ages.items():
        metadata = {"even": n % 2 == 0, "tags": [f"t{n}", "all"]}
        await add(store, "agent", "user", created_at=created_at, metadata=metadata)
    await add(store, "other", "user", metadata={"even": True})

    async def list_ages(limit: int = 10, **filters: Any) -> list[int]:
        ages_days, after = [], None
        while True:
            page = await store.memories.list_page(
                "agent", user, page_size=limit, after=after, filters=ListFilters(**filters)
            )
            ages_days += [(NOW - memory.created_at).days for memory in page.memories]
            if (after := page.next_key) is None:
                return ages_days

    assert await list_ages() == [0, 1, 2, 3, 4, 5]
    for limit in (1, 2, 10):
        assert await list_ages(limit, metadata=parse_filter({"even": True})) == [0, 2, 4]
    assert await list_ages(metadata=parse_filter({"tags": ["all", "t3"]})) == [3]
    assert await list_ages(metadata=parse_filter({})) == [0, 1, 2, 3, 4, 5]
    assert await list_ages(created_after=ages[2]) == [0, 1, 2]
    assert await list_ages(created_before=ages[2]) == [3, 4, 5]
    between = {"created_after": ages[5], "created_before": ages[0]}
    assert await list_ages(1, **between, metadata=parse_filter({"even": False})) == [1, 3, 5]
    assert await list_ages(created_after=ages[2], created_before=ages[2]) == []
    page = await store.memories.list_page(
        "agent",
        user,
        page_size=10,
        filters=ListFilters(memory_type=MemoryType.SEMANTIC, metadata=parse_filter({"even": True})),
    )
    assert page.memories == []
