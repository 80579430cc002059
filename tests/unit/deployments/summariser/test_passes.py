"""Passes over the scopes, and failures at each step."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deployments.domain.errors import Unavailable
from deployments.domain.memories import Memory, MemoryType, NewMemory
from deployments.runtime.ids import uuid7
from deployments.summariser.passes import Passes
from deployments.summariser.settings import SummarizationSettings
from tests.support.fakes.embedder import IDENTITY, FakeEmbedder, embed_words
from tests.support.fakes.store import InMemoryStore, in_memory_store
from tests.support.summaries import passes_over

START = datetime(2025, 1, 1, tzinfo=UTC)
STEPS = ["scopes_to_condense", "oldest_condensable", "adopt_generation", "embed", "condense"]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> InMemoryStore:
    return in_memory_store()


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def passes(store: InMemoryStore, embedder: FakeEmbedder, clock: Clock) -> Passes:
    settings = SummarizationSettings(threshold=10, batch_size=5)
    return passes_over(store, settings, embedder, monotonic_s=clock)


async def add(store: InMemoryStore, count: int, agent: str = "agent", **fields: Any) -> None:
    await store.generations.adopt_generation(IDENTITY)
    contents = [f"Fact {n} is that thing{n} is coloured colour{n}." for n in range(count)]
    memories = [
        NewMemory(uuid7(), agent, "user", content, created_at=START + timedelta(hours=n), **fields)
        for n, content in enumerate(contents)
    ]
    await store.inserts.insert(memories, np.stack([embed_words(c) for c in contents]), 1, None)


async def visible_memories(store: InMemoryStore, agent: str = "agent") -> list[Memory]:
    return (await store.memories.list_page(agent, "user", page_size=1_000)).memories


async def test_pass_condenses_the_oldest_down_to_the_threshold(
    passes: Passes, store: InMemoryStore
) -> None:
    await add(store, 23, metadata={"project": "x"}, importance=0.5)
    report = await passes.run()
    assert (report.scopes, report.summaries, report.memories, report.failed) == (1, 3, 15, 0)
    assert report.is_complete
    memories = await visible_memories(store)
    assert len(memories) == 8 + 3
    summary = min((m for m in memories if "summary" in m.metadata), key=lambda m: m.created_at)
    assert summary.memory_type is MemoryType.SEMANTIC
    assert summary.metadata == {
        "project": "x",
        "summary": {
            "memories": 5,
            "from": START.isoformat(),
            "to": (START + timedelta(hours=4)).isoformat(),
        },
    }
    assert summary.created_at == START + timedelta(hours=4)
    assert summary.importance == 0.5
    sources = await store.summaries.sources("agent", summary.id)
    assert sources is not None
    assert summary.content.split("\n") == [source.content for source in sources]


async def test_pass_skips_scopes_at_the_threshold_and_other_types(
    passes: Passes, store: InMemoryStore
) -> None:
    await add(store, 10)
    await add(store, 20, "facts", memory_type=MemoryType.PROCEDURAL)
    report = await passes.run()
    assert (report.scopes, report.summaries) == (0, 0)
    assert len(await visible_memories(store)) == 10
    assert len(await visible_memories(store, "facts")) == 20


async def test_pass_can_be_limited_to_an_agent_or_a_scope(
    passes: Passes, store: InMemoryStore
) -> None:
    for agent in ("a", "b", "c"):
        await add(store, 11, agent)
    assert (await passes.run("b")).summaries == 1
    assert [len(await visible_memories(store, agent)) for agent in ("a", "b", "c")] == [11, 7, 11]
    report = await passes.run("c", "user")
    assert (report.scopes, report.summaries) == (1, 1)
    report = await passes.run("c", "nobody")
    assert (report.scopes, report.summaries) == (0, 0)
    assert (await passes.run()).summaries == 1


async def test_pass_stops_at_the_end_of_its_time_budget(
    store: InMemoryStore, embedder: FakeEmbedder, clock: Clock
) -> None:
    await add(store, 40)

    def tick(_memories: int) -> None:
        clock.now_s += 1

    settings = SummarizationSettings(threshold=10, batch_size=5)
    passes = passes_over(store, settings, embedder, count_condensed=tick, monotonic_s=clock)
    report = await passes.run(budget_s=2)
    assert (report.summaries, report.is_complete) == (2, False)
    report = await passes.run(budget_s=100)
    assert (report.summaries, report.is_complete) == (4, True)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_after", [False, True])
async def test_pass_killed_at_any_step_loses_and_duplicates_nothing(
    passes: Passes, store: InMemoryStore, embedder: FakeEmbedder, step: str, is_after: bool
) -> None:
    """Before the step, or after it with its answer lost."""
    await add(store, 11)
    before = await visible_memories(store)
    part: Any = store.condensing
    if step == "embed":
        part = embedder
    elif step == "adopt_generation":
        part = store.generations
    original: Callable[..., Awaitable[Any]] = getattr(part, step)

    async def interrupted(*args: Any) -> Any:
        if is_after:
            await original(*args)
        raise KeyboardInterrupt  # the summariser does not catch it

    setattr(part, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        await passes.run()
    setattr(part, step, original)
    await passes.run()
    memories = await visible_memories(store)
    (summary,) = [memory for memory in memories if "summary" in memory.metadata]
    sources = await store.summaries.sources("agent", summary.id)
    assert sources is not None
    assert {m.id for m in sources} | {m.id for m in memories} == (
        {m.id for m in before} | {summary.id}
    )
    assert len(sources) == 5


async def test_failing_scope_is_retried_after_growing_delays_and_stops_no_other(
    passes: Passes,
    store: InMemoryStore,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for agent in ("a", "b"):
        await add(store, 11, agent)
    original = store.condensing.oldest_condensable
    attempts: list[str] = []

    async def failing(agent_id: str, *args: Any) -> Any:
        attempts.append(agent_id)
        if agent_id == "a":
            raise Unavailable("database")
        return await original(agent_id, *args)

    monkeypatch.setattr(store.condensing, "oldest_condensable", failing)
    report = await passes.run()
    assert (report.scopes, report.summaries, report.failed) == (2, 1, 1)
    assert "could not be condensed" in caplog.text
    assert "Fact" not in caplog.text
    attempts.clear()
    for now_s, expected in (
        (59, []),
        (60, ["a"]),
        (179, []),
        (180, ["a"]),
        (419, []),
        (420, ["a"]),
    ):
        clock.now_s = now_s
        await passes.run()
        assert attempts == expected, now_s
        attempts.clear()
    monkeypatch.undo()
    clock.now_s = 10_000
    assert (await passes.run()).summaries == 1


async def test_two_passes_over_the_same_sources_make_one_summary(
    store: InMemoryStore, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, 11)
    settings = SummarizationSettings(threshold=10, batch_size=5)
    both = [passes_over(store, settings, embedder) for _ in range(2)]
    stale = [await store.condensing.oldest_condensable("agent", "user", 10, 5) for _ in both]
    original = store.condensing.oldest_condensable

    async def stale_first(*_args: Any) -> Any:
        return stale.pop() if stale else await original("agent", "user", 10, 5)

    monkeypatch.setattr(store.condensing, "oldest_condensable", stale_first)
    reports = [await passes.run() for passes in both]
    assert [report.summaries for report in reports] == [1, 0]
    assert sum("summary" in memory.metadata for memory in await visible_memories(store)) == 1


async def test_nothing_is_purged_by_default(passes: Passes) -> None:
    assert await passes.purge() == 0  # the in-memory store raises if it is called
