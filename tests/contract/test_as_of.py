"""Searches as of an earlier time, in every store: a scope as it was then."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.domain.memories import Expiry, Memory, MemoryPatch, MemoryType, NewMemory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking, SearchMode
from deployments.domain.search import SearchFilters
from deployments.domain.summaries import Condensation
from deployments.runtime.ids import uuid7
from tests.support.contract import Scope
from tests.support.fakes.embedder import embed_words

NOW = datetime.now(UTC)


async def now() -> datetime:
    """A time between two calls of the store."""
    await asyncio.sleep(0.002)
    time = datetime.now(UTC)
    await asyncio.sleep(0.002)
    return time


async def change(scope: Scope, memory: Memory, **fields: Any) -> Memory:
    patch = MemoryPatch(**fields)
    embedding = None if patch.content is None else embed_words(patch.content)
    generation = None if patch.content is None else scope.generation
    changed = await scope.store.memories.update(
        scope.agent, memory.id, patch, embedding, generation, None
    )
    assert changed is not None
    return changed


async def condense(scope: Scope, sources: Sequence[Memory]) -> Memory:
    """The summary is as recent as its newest source."""
    summary = NewMemory(
        uuid7(), scope.agent, scope.user, "a summary of all", memory_type=MemoryType.SEMANTIC,
        created_at=sources[-1].created_at,
    )  # fmt: skip
    changes = [(source.id, source.updated_at) for source in sources]
    stored = await scope.store.condensing.condense(
        Condensation(summary, embed_words(summary.content), scope.generation, changes)
    )
    assert stored is not None
    return stored


async def contents(scope: Scope, as_of: datetime | None, **fields: Any) -> list[str]:
    hits = await scope.search("a fox", top_k=50, as_of=as_of, **fields)
    return sorted(hit.content for hit in hits)


async def test_hits_are_in_the_version_of_that_time(scope: Scope) -> None:
    (memory,) = await scope.add("a red fox", metadata={"n": 1}, importance=0.5)
    await scope.add("an owl")
    in_a_day = NOW + timedelta(days=1)
    states, times = [memory], [await now()]
    for fields in (
        {"content": "a grey fox"},
        {"metadata": {"n": 2}, "memory_type": MemoryType.SEMANTIC},
        {"importance": 2.0, "expiry": Expiry(in_a_day)},
        {"content": "a white fox", "metadata": {}},
    ):
        states.append(await change(scope, memory, **fields))
        times.append(await now())
    for state, time in zip(states, times, strict=True):
        hits = await scope.search("a fox", as_of=time)
        found = [hit for hit in hits if hit.id == memory.id]
        assert [(hit.content, hit.metadata, hit.importance, hit.memory_type) for hit in found] == [
            (state.content, state.metadata, state.importance, state.memory_type)
        ]
        assert (found[0].expires_at, found[0].updated_at) == (state.expires_at, state.updated_at)
        assert found[0].created_at == memory.created_at
        assert "an owl" in [hit.content for hit in hits]
    assert await contents(scope, memory.created_at - timedelta(seconds=1)) == []
    assert await contents(scope, None) == ["a white fox", "an owl"]


async def test_version_begins_at_the_moment_of_its_change(scope: Scope) -> None:
    (memory,) = await scope.add("a red fox")
    changed = await change(scope, memory, content="a grey fox")
    tick = timedelta(microseconds=1)
    assert await contents(scope, changed.updated_at - tick) == ["a red fox"]
    assert await contents(scope, changed.updated_at) == ["a grey fox"]
    assert await contents(scope, memory.created_at) == ["a red fox"]
    assert await contents(scope, memory.created_at - tick) == []


async def test_backdated_memory_says_what_it_said_first(scope: Scope) -> None:
    """Its times are the caller's: it counts as made when they say."""
    (memory,) = await scope.add("a red fox", created_at=NOW - timedelta(days=9))
    await change(scope, memory, content="a grey fox")
    assert await contents(scope, NOW - timedelta(days=5)) == ["a red fox"]
    assert await contents(scope, NOW - timedelta(days=10)) == []


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
async def test_version_is_ranked_by_its_own_words_and_embedding(
    scope: Scope, mode: SearchMode
) -> None:
    (memory,) = await scope.add("the meeting is in cedar")
    await scope.add("lunch is in birch", "tea is in oak")
    then = await now()
    await change(scope, memory, content="lunch is in ash")
    for text, expected in (("cedar meeting", memory.content), ("birch", "lunch is in birch")):
        best, *_ = await scope.search(text, ranking=Ranking(1.0, mode=mode), as_of=then)
        assert best.content == expected
    (best, *_) = await scope.search(memory.content, ranking=Ranking(1.0, mode=mode), as_of=then)
    assert best.id == memory.id
    assert best.score == pytest.approx(1.0, abs=1e-4)


async def test_scores_are_those_that_the_search_had_then(scope: Scope) -> None:
    """By similarity, recency and importance. (Words count by how frequent they are now.)"""
    memories = await scope.add("a red fox", "an owl asleep", "the fox and the owl", importance=1.5)
    ranking = Ranking(0.6, half_life_days=1e-4, importance_weight=0.5, mode="semantic")
    then = await now()
    before = await scope.search("a fox asleep", as_of=then, ranking=ranking)
    for memory, content in zip(memories, ("one", "two", "three"), strict=True):
        await change(scope, memory, importance=0.1)
        await change(scope, memory, content=content)
    after = await scope.search("a fox asleep", as_of=then, ranking=ranking)
    assert [hit.id for hit in after] == [hit.id for hit in before]
    scores = [hit.score for hit in before]
    assert [hit.score for hit in after] == pytest.approx(scores, abs=1e-4)


async def test_filters_apply_to_the_version(scope: Scope) -> None:
    (memory,) = await scope.add("a red fox", metadata={"n": 1})
    then = await now()
    await change(scope, memory, metadata={"n": 2}, memory_type=MemoryType.SEMANTIC)
    later = await now()
    for filters, at, expected in (
        (SearchFilters(metadata=parse_filter({"n": 1})), then, True),
        (SearchFilters(metadata=parse_filter({"n": 2})), then, False),
        (SearchFilters(metadata=parse_filter({"n": 2})), later, True),
        (SearchFilters(memory_type=MemoryType.EPISODIC), then, True),
        (SearchFilters(memory_type=MemoryType.SEMANTIC), then, False),
        (SearchFilters(created_after=memory.created_at), then, True),
        (SearchFilters(created_before=memory.created_at), then, False),
        (SearchFilters(min_score=5.0), then, False),
    ):
        assert bool(await contents(scope, at, filters=filters)) == expected, filters


async def test_explanation_has_the_terms_of_the_version(scope: Scope) -> None:
    (memory,) = await scope.add("a red fox")
    then = await now()
    await change(scope, memory, content="an owl")
    (hit,) = await scope.search("red owl", as_of=then, explain=True)
    assert hit.explanation is not None
    assert hit.explanation.matched_terms == ["red"]


async def test_deleted_memories_are_never_found(scope: Scope) -> None:
    first, second = await scope.add("a red fox", "a grey fox")
    other = Scope(scope.store, scope.generation, scope.agent, "other")
    (third,) = await other.add("another fox")
    then = await now()
    for one in (first, second):
        await change(scope, one, content="an owl")
    await change(other, third, content="another owl")
    assert await contents(scope, then) == ["a grey fox", "a red fox"]
    await scope.store.memories.delete(scope.agent, first.id)
    assert await contents(scope, then) == ["a grey fox"]
    await scope.store.memories.forget(scope.agent, scope.user)
    assert await contents(scope, then) == []
    assert await contents(other, then) == ["another fox"]


async def test_versions_are_found_in_their_scope_only(scope: Scope) -> None:
    (memory,) = await scope.add("a red fox")
    (expiring,) = await scope.add("a fox for a moment", expires_at=soon())
    then = await now()
    await change(scope, memory, content="an owl")
    assert expiring.expires_at is not None
    await until(expiring.expires_at)
    for agent, user in (("agent", "other"), ("other", "user")):
        other = Scope(scope.store, scope.generation, agent, user)
        assert await contents(other, then) == []
        await other.add("their fox", created_at=then)
        assert await contents(other, then) == ["their fox"]
        assert not await scope.store.memories.delete("other", expiring.id)
    assert await contents(scope, then) == ["a fox for a moment", "a red fox"]


async def test_superseded_memories_are_found_as_of_before_their_summary(scope: Scope) -> None:
    sources = await scope.add("a red fox", "a grey fox")
    await scope.add("an owl")
    then = await now()
    summary = await condense(scope, sources)
    later = await now()
    known_then = ["a grey fox", "a red fox", "an owl"]
    known_later = ["a summary of all", "an owl"]
    assert await contents(scope, then) == known_then
    assert await contents(scope, then, include_superseded=True) == known_then
    assert await contents(scope, later) == known_later
    everything = sorted([*known_then, "a summary of all"])
    assert await contents(scope, later, include_superseded=True) == everything
    assert {hit.superseded_by for hit in await scope.search("fox", as_of=then)} == {None}
    superseded = await scope.search("fox", as_of=later, include_superseded=True)
    assert {hit.superseded_by for hit in superseded} == {None, summary.id}

    await change(scope, summary, content="another summary")
    await change(scope, summary, expiry=Expiry(NOW + timedelta(days=1)))
    assert await contents(scope, then) == known_then
    assert await contents(scope, later) == known_later
    assert {hit.expires_at for hit in await scope.search("fox", as_of=then)} == {None}


async def test_source_that_was_changed_before_is_found_in_its_version(scope: Scope) -> None:
    (memory,) = await scope.add("a red fox")
    first = await now()
    changed = await change(scope, memory, content="a grey fox")
    second = await now()
    summary = await condense(scope, [changed])
    third = await now()
    times = (first, second, third)
    expected = ["a red fox", "a grey fox", "a summary of all"]
    assert [await contents(scope, time) for time in times] == [[content] for content in expected]
    await scope.store.summaries.restore(scope.agent, summary.id)
    assert await contents(scope, second) == ["a grey fox"]
    assert await contents(scope, third) == ["a grey fox"]  # the summary is deleted


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(milliseconds=150)


async def until(time: datetime) -> None:
    await asyncio.sleep(max(0.0, (time - datetime.now(UTC)).total_seconds()) + 0.01)


async def test_expired_memories_are_found_as_of_before(scope: Scope) -> None:
    expires_at = soon()
    changing, _ = await scope.add("a red fox", "a grey fox", expires_at=expires_at)
    then = await now()
    await change(scope, changing, content="a white fox")
    await until(expires_at)
    assert await contents(scope, None) == []
    assert await contents(scope, then) == ["a grey fox", "a red fox"]
    tick = timedelta(microseconds=1)
    assert await contents(scope, expires_at - tick) == ["a grey fox", "a white fox"]
    assert await contents(scope, expires_at) == []
    assert await scope.store.memories.get(scope.agent, changing.id) is None


async def test_expired_memories_can_be_deleted(scope: Scope) -> None:
    expires_at = soon()
    first, second = await scope.add("a red fox", "a grey fox", expires_at=expires_at)
    then = await now()
    await change(scope, first, content="a white fox")
    await until(expires_at)
    assert await contents(scope, then) == ["a grey fox", "a red fox"]
    assert await scope.store.memories.delete(scope.agent, first.id)
    assert not await scope.store.memories.delete(scope.agent, first.id)
    assert await contents(scope, then) == ["a grey fox"]
    assert await scope.store.memories.forget(scope.agent, scope.user) == 0
    assert await contents(scope, then) == []
    assert not await scope.store.memories.delete(scope.agent, second.id)


async def test_time_in_the_future_changes_ages_only(scope: Scope) -> None:
    in_an_hour = NOW + timedelta(hours=1)
    (memory,) = await scope.add("a red fox", created_at=NOW, expires_at=in_an_hour)
    await change(scope, memory, content="a grey fox")
    ranking = Ranking(0.0, half_life_days=1.0)
    (hit,) = await scope.search("fox", as_of=NOW + timedelta(days=1), ranking=ranking)
    assert (hit.content, hit.score) == ("a grey fox", 0.5)
