"""What every Store does: the Postgres one and the in-memory one of the unit tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from deployments.domain.memories import (
    Expiry,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryType,
    PageKey,
)
from deployments.domain.ranking import Ranking
from tests.support.contract import Scope
from tests.support.fakes.embedder import embed_words

NOW = datetime.now(UTC)


async def test_returns_what_was_stored(scope: Scope) -> None:
    created = NOW - timedelta(days=3)
    (stored,) = await scope.add(
        "Grüße, 東京 🙂",
        importance=1.5,
        memory_type=MemoryType.SEMANTIC,
        metadata={"tags": ["a", {"b": None}], "n": 1.5, "ü": True},
        created_at=created,
    )
    assert stored.content == "Grüße, 東京 🙂"
    assert stored.created_at == created
    assert stored.metadata == {"tags": ["a", {"b": None}], "n": 1.5, "ü": True}
    assert stored.score is None
    assert await scope.store.memories.get("agent", stored.id) == stored


async def test_keeps_the_order_of_a_batch(scope: Scope) -> None:
    contents = [f"memory {n}" for n in range(50)]
    assert [memory.content for memory in await scope.add(*contents)] == contents


async def test_scopes_never_mix(scope: Scope) -> None:
    store, generation = scope.store, scope.generation
    (mine,) = await scope.add("secret plan")
    for agent, user in (("agent", "other"), ("other", "user"), ("AGENT", "user"), ("%", "%")):
        other = Scope(store, generation, agent, user)
        assert await other.search("secret plan") == []
        assert (await store.memories.list_page(agent, user, page_size=10)).memories == []
        assert await store.memories.count(agent, user) == 0
        assert await store.memories.forget(agent, user) == 0
    for agent in ("other", "", "agent "):
        assert await store.memories.get(agent, mine.id) is None
        assert (
            await store.memories.update(
                agent, mine.id, MemoryPatch("x"), embed_words("x"), generation, None
            )
            is None
        )
        assert not await store.memories.delete(agent, mine.id)
        assert await store.memories.count(agent, None) == 0
        assert (await store.memories.list_page(agent, None, page_size=10)).memories == []
    assert await store.memories.get("agent", mine.id) == mine


async def test_lists_newest_first_across_pages_while_rows_come_and_go(scope: Scope) -> None:
    stored = [
        (await scope.add(f"m {n}", created_at=NOW - timedelta(hours=n % 7)))[0] for n in range(25)
    ]
    seen: list[Memory] = []
    after: PageKey | None = None
    while True:
        page = await scope.store.memories.list_page("agent", "user", page_size=4, after=after)
        seen += page.memories
        await scope.add("newer, behind us already")
        if page.next_key is None:
            break
        after = page.next_key
    expected = sorted(stored, key=lambda memory: (memory.created_at, memory.id), reverse=True)
    assert [memory.id for memory in seen] == [memory.id for memory in expected]


async def test_lists_all_users_or_one_and_by_type(scope: Scope) -> None:
    await scope.add("a")
    await scope.add("b", memory_type=MemoryType.SEMANTIC)
    await Scope(scope.store, scope.generation, "agent", "second").add("c")

    async def listed(user: str | None, memory_type: MemoryType | None = None) -> list[str]:
        page = await scope.store.memories.list_page(
            "agent", user, page_size=10, filters=ListFilters(memory_type=memory_type)
        )
        return [memory.content for memory in page.memories]

    assert await listed(None) == ["c", "b", "a"]
    assert await listed("user") == ["b", "a"]
    assert await listed(None, MemoryType.SEMANTIC) == ["b"]
    assert await scope.store.memories.count("agent", None) == 3
    assert await scope.store.memories.count("agent", "second") == 1


async def test_last_page_of_exact_size_has_no_next(scope: Scope) -> None:
    await scope.add("a", "b")
    assert (await scope.store.memories.list_page("agent", "user", page_size=2)).next_key is None
    assert (await scope.store.memories.list_page("agent", "user", page_size=1)).next_key is not None


async def test_update_changes_only_what_is_named(scope: Scope) -> None:
    (memory,) = await scope.add("before", importance=0.5, metadata={"a": 1})
    generation = scope.generation
    changed = await scope.store.memories.update(
        "agent", memory.id, MemoryPatch("after words"), embed_words("after words"), generation, None
    )
    assert changed is not None
    assert changed == replace(memory, content="after words", updated_at=changed.updated_at)
    assert changed.updated_at > memory.updated_at
    (hit,) = await scope.search("after words", ranking=Ranking(alpha=1.0))
    assert hit.score == pytest.approx(1.0, abs=1e-4)
    patch = MemoryPatch(importance=2.0, memory_type=MemoryType.SEMANTIC, metadata={})
    changed = await scope.store.memories.update("agent", memory.id, patch, None, generation, None)
    assert changed is not None
    assert (changed.content, changed.importance, changed.metadata) == ("after words", 2.0, {})


async def test_delete_and_forget(scope: Scope) -> None:
    first, second, _ = await scope.add("a", "b", "c")
    assert await scope.store.memories.delete("agent", first.id)
    assert not await scope.store.memories.delete("agent", first.id)
    assert not await scope.store.memories.delete("agent", uuid4())
    assert await scope.store.memories.forget("agent", "user") == 2
    assert await scope.store.memories.get("agent", second.id) is None
    assert await scope.search("a") == []


async def test_what_is_over_is_not_there(scope: Scope) -> None:
    store, agent = scope.store, scope.agent
    (kept,) = await scope.add("a fox, for good")
    (later,) = await scope.add("a fox, for a day", expires_at=NOW + timedelta(days=1))
    (over,) = await scope.add("a fox, for a moment", expires_at=NOW - timedelta(seconds=1))
    assert later.expires_at == NOW + timedelta(days=1)
    assert kept.expires_at is None
    seen = {kept.id, later.id}
    assert {hit.id for hit in await scope.search("fox")} == seen
    assert {hit.id for hit in await scope.search("fox", as_of=NOW + timedelta(hours=1))} == seen
    for user in ("user", None):
        page = await store.memories.list_page(agent, user, page_size=10)
        assert {memory.id for memory in page.memories} == seen
        assert await store.memories.count(agent, user) == 2
    assert await store.memories.get(agent, over.id) is None
    patch = MemoryPatch("a fox again", expiry=Expiry(None))
    embedding = embed_words("a fox again")
    assert (
        await store.memories.update(agent, over.id, patch, embedding, scope.generation, None)
        is None
    )
    assert not await store.memories.delete(agent, over.id)
    assert await store.memories.forget(agent, "user") == 2


async def test_an_expiry_changes_alone(scope: Scope) -> None:
    (memory,) = await scope.add("a fox", expires_at=NOW + timedelta(days=1))

    async def changed(patch: MemoryPatch) -> Memory:
        found = await scope.store.memories.update(scope.agent, memory.id, patch, None, None, None)
        assert found is not None
        return found

    assert (await changed(MemoryPatch(importance=2.0))).expires_at == memory.expires_at
    week = NOW + timedelta(days=7)
    assert (await changed(MemoryPatch(expiry=Expiry(week)))).expires_at == week
    assert (await changed(MemoryPatch(expiry=Expiry(None)))).expires_at is None
    await changed(MemoryPatch(expiry=Expiry(NOW - timedelta(seconds=1))))
    assert await scope.store.memories.get(scope.agent, memory.id) is None


async def test_changes_keep_what_was(scope: Scope) -> None:
    store, agent = scope.store, scope.agent
    (memory,) = await scope.add("a fox", metadata={"n": 1})
    assert await store.memories.history(agent, memory.id, None, 10) == []
    said = ["a fox"]
    for n in range(2, 5):
        patch = MemoryPatch(content=f"a fox, {n}")
        said.append(f"a fox, {n}")
        embedding = embed_words(f"a fox, {n}")
        await store.memories.update(agent, memory.id, patch, embedding, scope.generation, None)
    patch = MemoryPatch(importance=2.0, metadata={}, expiry=Expiry(NOW + timedelta(days=1)))
    await store.memories.update(agent, memory.id, patch, None, None, None)
    await store.memories.update(agent, memory.id, patch, None, None, None)  # changes nothing
    versions = await store.memories.history(agent, memory.id, None, 10)
    assert versions is not None
    assert [version.version for version in versions] == [4, 3, 2, 1]
    assert [version.content for version in reversed(versions)] == said
    first, last = versions[-1], versions[0]
    assert (first.importance, first.metadata, first.expires_at) == (1.0, {"n": 1}, None)
    assert first.written_at == memory.updated_at
    assert first.replaced_at == versions[-2].written_at
    assert (last.importance, last.metadata) == (1.0, {"n": 1})
    page = await store.memories.history(agent, memory.id, 4, 2)
    assert page is not None
    assert [version.version for version in page] == [3, 2]


async def test_a_history_is_the_memorys_own(scope: Scope) -> None:
    store, agent = scope.store, scope.agent
    memory, other = await scope.add("a fox", "an owl")
    for one in (memory, other):
        await store.memories.update(agent, one.id, MemoryPatch(importance=2.0), None, None, None)
    assert await store.memories.history("another", memory.id, None, 10) is None
    assert await store.memories.history(agent, uuid4(), None, 10) is None
    await store.memories.delete(agent, memory.id)
    assert await store.memories.history(agent, memory.id, None, 10) is None
    kept = await store.memories.history(agent, other.id, None, 10)
    assert kept is not None
    assert [version.content for version in kept] == ["an owl"]
