"""What every Store does: the Postgres one and the in-memory one of the unit tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest

from deployments.domain.errors import GenerationRetired, KeyReused, ModelMismatch, RateLimited
from deployments.domain.memories import (
    Expiry,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryType,
    NewMemory,
    PageKey,
    WriteKey,
)
from deployments.domain.ports.store import BatchedStore
from deployments.domain.ranking import Fusion, Ranking, SearchMode
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from tests.support.contract import Scope
from tests.support.fakes.embedder import IDENTITY, embed_words

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


async def test_an_insert_can_be_made_again(scope: Scope) -> None:
    memory = NewMemory(uuid7(), "agent", "user", "once")
    embeddings = np.stack([embed_words("once")])
    first = await scope.store.inserts.insert([memory], embeddings, scope.generation, None)
    again = await scope.store.inserts.insert([memory], embeddings, scope.generation, None)
    assert again == first
    assert await scope.store.memories.count("agent", "user") == 1


async def test_ranks_by_meaning(scope: Scope) -> None:
    await scope.add("green tea please", "the deploy failed", "red green blue")
    hits = await scope.search("green tea", ranking=Ranking(alpha=1.0, mode="semantic"))
    assert [hit.content for hit in hits] == [
        "green tea please",
        "red green blue",
        "the deploy failed",
    ]
    assert hits[0].score == round(
        float(embed_words("green tea") @ embed_words("green tea please")), 4
    )


@pytest.mark.parametrize("query", ["anything", "aged 3", "the"])
@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical"])
@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
async def test_alpha_zero_is_newest_first(
    scope: Scope, query: str, mode: SearchMode, fusion: Fusion
) -> None:
    for age in (5, 1, 9, 0, 3):
        await scope.add(f"aged {age}", created_at=NOW - timedelta(days=age))
    hits = await scope.search(query, ranking=Ranking(alpha=0.0, mode=mode, fusion=fusion))
    assert [hit.content for hit in hits] == [f"aged {age}" for age in (0, 1, 3, 5, 9)]


async def test_ranks_by_words(scope: Scope) -> None:
    contents = ["the deploy failed with ERR_4032", "a deploy went well", "tea deploy deploy deploy"]
    await scope.add(*contents)
    modes: tuple[SearchMode, ...] = ("hybrid", "lexical")
    for mode in modes:
        hits = await scope.search("which one was err_4032?", ranking=Ranking(1.0, mode=mode))
        assert hits[0].content == contents[0]
    lexical = await scope.search("ERR_4032 deploy", ranking=Ranking(1.0, mode="lexical"))
    assert lexical[0].content == contents[0]
    assert lexical[0].score == 1.0


async def test_without_a_common_word_meaning_alone_counts(scope: Scope) -> None:
    await scope.add("green tea please", "red green blue")
    for query in ("unheard", "the of who", "?! 🎉"):
        semantic = await scope.search(query, ranking=Ranking(1.0, mode="semantic"))
        for ranking in (
            Ranking(1.0, mode="hybrid", fusion="weighted"),
            Ranking(1.0, mode="hybrid", fusion="rrf"),
            Ranking(1.0, mode="lexical"),
        ):
            hits = await scope.search(query, ranking=ranking)
            assert [(h.id, h.score) for h in hits] == [(h.id, h.score) for h in semantic]


async def test_changed_content_is_found_by_its_new_words_alone(scope: Scope) -> None:
    (memory, _) = await scope.add("the parrot sleeps", "nothing of it")
    words = Ranking(1.0, mode="lexical")
    patch = MemoryPatch(content="an owl wakes")
    await scope.store.memories.update(
        "agent", memory.id, patch, embed_words("an owl wakes"), 1, None
    )
    hits = await scope.search("owl", ranking=words)
    assert (hits[0].content, hits[0].score) == ("an owl wakes", 1.0)
    hits = await scope.search("parrot", ranking=words)
    assert all(hit.score is not None and hit.score < 1 for hit in hits)


async def test_half_life_halves(scope: Scope) -> None:
    await scope.add("old", created_at=datetime.now(UTC) - timedelta(days=10))
    (hit,) = await scope.search("x", ranking=Ranking(alpha=0.0, half_life_days=10.0))
    assert hit.score == pytest.approx(0.5, abs=1e-4)


async def test_as_of_sees_what_there_was_then(scope: Scope) -> None:
    for age_days in (0, 10, 20):
        await scope.add(f"aged {age_days}", created_at=NOW - timedelta(days=age_days))
    ranking, then = Ranking(alpha=0.0, half_life_days=10.0), NOW - timedelta(days=10)
    hits = await scope.search("x", ranking=ranking, as_of=then)
    assert [(hit.content, hit.score) for hit in hits] == [("aged 10", 1.0), ("aged 20", 0.5)]
    ahead = await scope.search("x", ranking=ranking, as_of=NOW + timedelta(days=10))
    assert [hit.score for hit in ahead] == [0.5, 0.25, 0.125]


async def test_future_memories_are_not_newer_than_now(scope: Scope) -> None:
    await scope.add("ahead", created_at=datetime.now(UTC) + timedelta(minutes=4))
    (hit,) = await scope.search("x", ranking=Ranking(alpha=0.0, half_life_days=0.001))
    assert hit.score == 1.0


@pytest.mark.parametrize("half_life_days", [5e-324, 1e-300, 1e-9, 0.001, 1e6])
@pytest.mark.parametrize("year", [1, 2, 2020])
async def test_extreme_ages_and_half_lives_have_a_score(
    scope: Scope, half_life_days: float, year: int
) -> None:
    created_at = datetime(year, 1, 1, tzinfo=UTC)
    await scope.add("old", created_at=created_at)
    ranking = Ranking(alpha=0.0, half_life_days=half_life_days)
    (hit,) = await scope.search("x", ranking=ranking)
    assert hit.score is not None
    assert 0 <= hit.score < 1
    assert hit.created_at == created_at
    page = await scope.store.memories.list_page(
        "agent", "user", page_size=1, after=PageKey(NOW, uuid7())
    )
    assert [memory.created_at for memory in page.memories] == [created_at]


async def test_importance_weighs_in(scope: Scope) -> None:
    await scope.add("same words", importance=0.0)
    await scope.add("same words", importance=2.0)
    ranking = Ranking(alpha=1.0, importance_weight=0.5)
    high, low = await scope.search("same words", ranking=ranking)
    assert (high.importance, low.importance) == (2.0, 0.0)
    assert high.score == pytest.approx(1.5, abs=1e-4)
    assert low.score == pytest.approx(1.0, abs=1e-4)


async def test_ties_go_to_the_newest_then_to_the_id(scope: Scope) -> None:
    older = await scope.add("tie", created_at=NOW - timedelta(days=1))
    same = await scope.add("tie", "tie", created_at=NOW)
    hits = await scope.search("tie", ranking=Ranking(alpha=1.0))
    by_id = sorted((memory.id for memory in same), reverse=True)
    assert [hit.id for hit in hits] == [*by_id, older[0].id]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (SearchFilters(memory_type=MemoryType.PROCEDURAL), {"c"}),
        (SearchFilters(metadata={"project": "x"}), {"a", "b"}),
        (SearchFilters(metadata={"project": "x", "tags": ["new"]}), {"b"}),
        (SearchFilters(metadata={}), {"a", "b", "c"}),
        (SearchFilters(created_after=NOW - timedelta(days=2)), {"b", "c"}),
        (SearchFilters(created_before=NOW - timedelta(days=2)), {"a"}),
        (SearchFilters(created_after=NOW - timedelta(days=1)), {"c"}),
        (SearchFilters(min_score=2.0), set()),
    ],
)
async def test_filters(scope: Scope, filters: SearchFilters, expected: set[str]) -> None:
    await scope.add("a", metadata={"project": "x"}, created_at=NOW - timedelta(days=3))
    await scope.add(
        "b", metadata={"project": "x", "tags": ["old", "new"]}, created_at=NOW - timedelta(days=1)
    )
    await scope.add("c", memory_type=MemoryType.PROCEDURAL, created_at=NOW)
    assert {hit.content for hit in await scope.search("q", filters=filters)} == expected


async def test_min_score_compares_the_score_that_is_shown(scope: Scope) -> None:
    await scope.add("alpha beta", "gamma")
    best, _ = await scope.search("alpha", ranking=Ranking(alpha=1.0))
    assert best.score is not None
    filters = SearchFilters(min_score=best.score)
    assert [h.id for h in await scope.search("alpha", ranking=Ranking(1.0), filters=filters)] == [
        best.id
    ]


async def test_top_k_limits(scope: Scope) -> None:
    await scope.add(*(f"m {n}" for n in range(20)))
    assert len(await scope.search("m", top_k=7)) == 7


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


async def test_limits_each_operation_and_agent_on_its_own(scope: Scope) -> None:
    store, limit = scope.store, RateLimit("search", 3)

    async def search(agent: str, limit: RateLimit) -> None:
        await store.searches.search(
            SearchQuery(agent, "u", "q"), embed_words("q"), scope.generation, limit
        )

    for _ in range(3):
        await search("limited", limit)
    with pytest.raises(RateLimited) as refused:
        await search("limited", limit)
    assert 55 < refused.value.retry_after_s <= 60
    assert (refused.value.operation, refused.value.agent_id) == ("search", "limited")
    await search("another", limit)
    memory = NewMemory(uuid7(), "limited", "u", "x")
    await store.inserts.insert(
        [memory], np.stack([embed_words("x")]), scope.generation, RateLimit("write", 3)
    )


async def test_a_refused_write_changes_nothing(scope: Scope) -> None:
    limit = RateLimit("write", 1)
    memories = [NewMemory(uuid7(), "limited", "u", f"m {n}") for n in range(2)]
    vectors = np.stack([embed_words("m")])
    await scope.store.inserts.insert(memories[:1], vectors, scope.generation, limit)
    with pytest.raises(RateLimited):
        await scope.store.inserts.insert(memories[1:], vectors, scope.generation, limit)
    with pytest.raises(RateLimited):
        await scope.store.memories.update(
            "limited", memories[0].id, MemoryPatch(importance=2.0), None, scope.generation, limit
        )
    (only,) = (await scope.store.memories.list_page("limited", None, page_size=10)).memories
    assert (only.id, only.importance) == (memories[0].id, 1.0)


async def test_another_model_is_refused_only_when_there_are_memories(store: BatchedStore) -> None:
    other = replace(IDENTITY, name="fake/other")
    await store.generations.adopt_generation(IDENTITY)
    generation = await store.generations.adopt_generation(other)
    assert await store.generations.adopt_generation(other) == generation
    await Scope(store, generation, "a", "u").add("x")
    with pytest.raises(ModelMismatch):
        await store.generations.adopt_generation(IDENTITY)
    assert await store.generations.adopt_generation(other) == generation


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


async def test_a_key_writes_once(scope: Scope) -> None:
    def asked(*contents: str, agent: str = scope.agent) -> list[NewMemory]:
        return [NewMemory(uuid7(), agent, "user", content) for content in contents]

    async def write(memories: list[NewMemory], key: WriteKey) -> list[Memory]:
        embeddings = np.stack([embed_words(memory.content) for memory in memories])
        return await scope.store.inserts.insert_once(
            memories, embeddings, scope.generation, None, key
        )

    key = WriteKey("k", b"1")
    first = await write(asked("a fox", "an owl"), key)
    assert await write(asked("a fox", "an owl"), key) == first
    assert await scope.store.memories.count(scope.agent, None) == 2
    with pytest.raises(KeyReused):
        await write(asked("a bear", "an owl"), WriteKey("k", b"2"))
    assert await scope.store.memories.count(scope.agent, None) == 2
    await write(asked("a fox", agent="another"), WriteKey("k", b"3"))
    assert await scope.store.memories.count("another", None) == 1
    patch = MemoryPatch(importance=2.0)
    await scope.store.memories.update(scope.agent, first[0].id, patch, None, None, None)
    await scope.store.memories.delete(scope.agent, first[1].id)
    assert await write(asked("a fox", "an owl"), key) == first
    assert await scope.store.memories.count(scope.agent, None) == 1


async def test_a_write_that_failed_leaves_its_key_free(scope: Scope) -> None:
    limit, key = RateLimit("write", 1), WriteKey("k", b"1")
    memories = [NewMemory(uuid7(), "limited once", "user", "a fox")]
    embeddings = np.stack([embed_words("a fox")])
    await scope.store.inserts.insert(memories, embeddings, scope.generation, limit)
    again = [NewMemory(uuid7(), "limited once", "user", "a fox")]
    with pytest.raises(RateLimited):
        await scope.store.inserts.insert_once(again, embeddings, scope.generation, limit, key)
    stored = await scope.store.inserts.insert_once(again, embeddings, scope.generation, None, key)
    assert stored[0].id == again[0].id


async def test_embeddings_of_another_generation_are_refused(scope: Scope) -> None:
    (stored,) = await scope.add("a fox")
    store, vector = scope.store, embed_words("a dog")
    retired = scope.generation + 1
    one = [NewMemory(uuid7(), scope.agent, scope.user, "a dog")]
    rows = vector[None]
    limit = RateLimit("write", 10)
    for call in (
        store.inserts.insert(one, rows, retired, None),
        store.inserts.insert(one, rows, retired, limit),
        store.inserts.insert_once(one, rows, retired, None, WriteKey("retired", b"1")),
        store.memories.update(scope.agent, stored.id, MemoryPatch("a dog"), vector, retired, None),
        store.searches.search(SearchQuery(scope.agent, scope.user, "dog"), vector, retired, None),
    ):
        with pytest.raises(GenerationRetired):
            await call
    (only,) = (await store.memories.list_page(scope.agent, scope.user, page_size=10)).memories
    assert only == stored
    await store.inserts.insert_once(one, rows, scope.generation, None, WriteKey("retired", b"1"))
