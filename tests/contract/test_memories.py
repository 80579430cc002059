"""The Memories port of every store: get, list, update, delete, forget, count, history."""

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


async def test_insert_returns_the_stored_memory(scope: Scope) -> None:
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


async def test_insert_keeps_the_order_of_a_batch(scope: Scope) -> None:
    contents = [f"memory {n}" for n in range(50)]
    assert [memory.content for memory in await scope.add(*contents)] == contents


async def test_no_call_reaches_another_scope(scope: Scope) -> None:
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


async def test_pages_list_newest_first_while_memories_are_added(scope: Scope) -> None:
    stored = [
        (await scope.add(f"m {n}", created_at=NOW - timedelta(hours=n % 7)))[0] for n in range(25)
    ]
    listed: list[Memory] = []
    after: PageKey | None = None
    while True:
        page = await scope.store.memories.list_page("agent", "user", page_size=4, after=after)
        listed += page.memories
        await scope.add("newer than the pages already read")
        if page.next_key is None:
            break
        after = page.next_key
    expected = sorted(stored, key=lambda memory: (memory.created_at, memory.id), reverse=True)
    assert [memory.id for memory in listed] == [memory.id for memory in expected]


async def test_list_filters_by_user_and_type(scope: Scope) -> None:
    await scope.add("a")
    await scope.add("b", memory_type=MemoryType.SEMANTIC)
    await Scope(scope.store, scope.generation, "agent", "second").add("c")

    async def list_contents(user: str | None, memory_type: MemoryType | None = None) -> list[str]:
        page = await scope.store.memories.list_page(
            "agent", user, page_size=10, filters=ListFilters(memory_type=memory_type)
        )
        return [memory.content for memory in page.memories]

    assert await list_contents(None) == ["c", "b", "a"]
    assert await list_contents("user") == ["b", "a"]
    assert await list_contents(None, MemoryType.SEMANTIC) == ["b"]
    assert await scope.store.memories.count("agent", None) == 3
    assert await scope.store.memories.count("agent", "second") == 1


async def test_full_last_page_has_no_next_key(scope: Scope) -> None:
    await scope.add("a", "b")
    assert (await scope.store.memories.list_page("agent", "user", page_size=2)).next_key is None
    assert (await scope.store.memories.list_page("agent", "user", page_size=1)).next_key is not None


async def test_update_changes_only_the_fields_of_the_patch(scope: Scope) -> None:
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


async def test_delete_removes_one_memory_and_forget_all(scope: Scope) -> None:
    first, second, _ = await scope.add("a", "b", "c")
    assert await scope.store.memories.delete("agent", first.id)
    assert not await scope.store.memories.delete("agent", first.id)
    assert not await scope.store.memories.delete("agent", uuid4())
    assert await scope.store.memories.forget("agent", "user") == 2
    assert await scope.store.memories.get("agent", second.id) is None
    assert await scope.search("a") == []


async def test_no_call_sees_an_expired_memory(scope: Scope) -> None:
    store, agent = scope.store, scope.agent
    (permanent,) = await scope.add("a fox, for good")
    (later,) = await scope.add("a fox, for a day", expires_at=NOW + timedelta(days=1))
    (expired,) = await scope.add("a fox, for a moment", expires_at=NOW - timedelta(seconds=1))
    assert later.expires_at == NOW + timedelta(days=1)
    assert permanent.expires_at is None
    live = {permanent.id, later.id}
    assert {hit.id for hit in await scope.search("fox")} == live
    assert {hit.id for hit in await scope.search("fox", as_of=NOW + timedelta(hours=1))} == live
    for user in ("user", None):
        page = await store.memories.list_page(agent, user, page_size=10)
        assert {memory.id for memory in page.memories} == live
        assert await store.memories.count(agent, user) == 2
    assert await store.memories.get(agent, expired.id) is None
    patch = MemoryPatch("a fox again", expiry=Expiry(None))
    embedding = embed_words("a fox again")
    assert (
        await store.memories.update(agent, expired.id, patch, embedding, scope.generation, None)
        is None
    )
    assert await store.memories.history(agent, expired.id, None, 10) is None
    assert await store.memories.delete(agent, expired.id)  # a search as of before had found it
    assert not await store.memories.delete(agent, expired.id)
    assert await store.memories.forget(agent, "user") == 2


async def test_only_a_patch_with_an_expiry_changes_the_expiry(scope: Scope) -> None:
    (memory,) = await scope.add("a fox", expires_at=NOW + timedelta(days=1))

    async def update(patch: MemoryPatch) -> Memory:
        changed = await scope.store.memories.update(scope.agent, memory.id, patch, None, None, None)
        assert changed is not None
        return changed

    assert (await update(MemoryPatch(importance=2.0))).expires_at == memory.expires_at
    in_a_week = NOW + timedelta(days=7)
    assert (await update(MemoryPatch(expiry=Expiry(in_a_week)))).expires_at == in_a_week
    assert (await update(MemoryPatch(expiry=Expiry(None)))).expires_at is None
    await update(MemoryPatch(expiry=Expiry(NOW - timedelta(seconds=1))))
    assert await scope.store.memories.get(scope.agent, memory.id) is None


async def test_each_change_adds_a_version_to_the_history(scope: Scope) -> None:
    store, agent = scope.store, scope.agent
    (memory,) = await scope.add("a fox", metadata={"n": 1})
    assert await store.memories.history(agent, memory.id, None, 10) == []
    contents = ["a fox"]
    for n in range(2, 5):
        patch = MemoryPatch(content=f"a fox, {n}")
        contents.append(f"a fox, {n}")
        embedding = embed_words(f"a fox, {n}")
        await store.memories.update(agent, memory.id, patch, embedding, scope.generation, None)
    patch = MemoryPatch(importance=2.0, metadata={}, expiry=Expiry(NOW + timedelta(days=1)))
    await store.memories.update(agent, memory.id, patch, None, None, None)
    await store.memories.update(agent, memory.id, patch, None, None, None)  # changes nothing
    versions = await store.memories.history(agent, memory.id, None, 10)
    assert versions is not None
    assert [version.version for version in versions] == [4, 3, 2, 1]
    assert [version.content for version in reversed(versions)] == contents
    first, last = versions[-1], versions[0]
    assert (first.importance, first.metadata, first.expires_at) == (1.0, {"n": 1}, None)
    assert first.written_at == memory.updated_at
    assert first.replaced_at == versions[-2].written_at
    assert (last.importance, last.metadata) == (1.0, {"n": 1})
    page = await store.memories.history(agent, memory.id, 4, 2)
    assert page is not None
    assert [version.version for version in page] == [3, 2]


async def test_history_is_of_one_memory_and_visible_to_its_agent_only(scope: Scope) -> None:
    store, agent = scope.store, scope.agent
    memory, other = await scope.add("a fox", "an owl")
    for one in (memory, other):
        await store.memories.update(agent, one.id, MemoryPatch(importance=2.0), None, None, None)
    assert await store.memories.history("another", memory.id, None, 10) is None
    assert await store.memories.history(agent, uuid4(), None, 10) is None
    await store.memories.delete(agent, memory.id)
    assert await store.memories.history(agent, memory.id, None, 10) is None
    versions = await store.memories.history(agent, other.id, None, 10)
    assert versions is not None
    assert [version.content for version in versions] == ["an owl"]
