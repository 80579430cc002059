"""Searches by sketches: what they find, and what is read for it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deployments.domain.memories import MemoryType, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchCall, SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.searches.candidates import Population
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, Tuning, build_store
from tests.support.postgres.memories import (
    FEW,
    RANDOM,
    RecordingStore,
    explain,
    fill,
    marked,
    prepared,
    put_in_index,
    sentences,
    unit_vectors,
)

# As few for a scope that a test can fill as there are for a really large one.
FEW_LIKELY = Tuning(search=SearchTuning(likely=100, likely_without_age=200))


async def test_a_search_by_sketches_finds_what_scoring_all_finds(
    postgres_store: PostgresStore, recording_store: RecordingStore
) -> None:
    names, store = recording_store.names, recording_store.store
    settings = StoreSettings(exact_search_rows=2_000)
    sketching = build_store(store.pool, settings, tuning=FEW_LIKELY)
    query_vector = unit_vectors(1)[0]
    likeness = RANDOM.uniform(0, 1, size=(3_000, 1)).astype(np.float32)
    vectors = likeness * query_vector + (1 - likeness) * unit_vectors(3_000)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, _, generation = await fill(sketching, 3_000, vectors=vectors, contents=sentences(3_000))
    await put_in_index(sketching)
    now = datetime.now(UTC)
    queries = [
        (text, filters, as_of)
        for text in sentences(3, words=6)
        for filters, as_of in (
            (SearchFilters(), None),
            (SearchFilters(), now - timedelta(hours=900)),
            (SearchFilters(created_after=now - timedelta(hours=1_400)), None),
            (SearchFilters(created_before=now - timedelta(hours=600)), None),
            (SearchFilters(min_score=0.1), None),
        )
    ]
    for ranking in (
        Ranking(1.0, mode="semantic"),
        Ranking(0.0, 10.0, mode="semantic"),
        Ranking(0.0, 0.001, mode="semantic"),  # equally old, but for which are the newest
        Ranking(mode="semantic"),
        Ranking(0.5, 5.0, 0.4, mode="semantic"),
        Ranking(),
        Ranking(0.9, 100.0, lexical_weight=0.2),
    ):
        found = total = 0
        names.clear()
        for text, filters, as_of in queries:
            filters = replace(filters, metadata={"even": True})
            query = SearchQuery("agent", "user", text, 10, ranking, filters, as_of or now)
            want = await postgres_store.searches.search(query, query_vector, generation, None)
            have = await sketching.searches.search(query, query_vector, generation, None)
            assert len(have) == len(want)
            found += len({hit.id for hit in want} & {hit.id for hit in have})
            total += len(want)
        assert total
        assert found / total >= 0.97, ranking
        assert "search_sketched" in names


async def test_all_are_found_where_they_are_few(
    postgres_store: PostgresStore, recording_store: RecordingStore
) -> None:
    """By type as well, and none that is over."""
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    over = datetime.now(UTC) - timedelta(1)
    types = MemoryType.EPISODIC, MemoryType.PROCEDURAL
    rare = [
        replace(memory, memory_type=types[n % 2], expires_at=over if n > 35 else None)
        for n, memory in enumerate(marked(40, rare=True))
    ]
    await store.inserts.insert(rare, unit_vectors(40), generation, None)
    await put_in_index(store)
    for ranking in (Ranking(), Ranking(1.0), Ranking(mode="semantic")):
        for memory_type, count in ((None, 36), (MemoryType.PROCEDURAL, 18)):
            filters = SearchFilters(memory_type, {"rare": True})
            query = SearchQuery("agent", "user", "rare 3", 50, ranking, filters)
            query = replace(query, as_of=datetime.now(UTC) + timedelta(seconds=1))
            want = await postgres_store.searches.search(query, vectors[0], generation, None)
            assert len(want) == count
            assert await store.searches.search(query, vectors[0], generation, None) == want
    assert names == ["search_sketched"] * 6


async def test_values_are_compared_as_filters_compare_them(
    recording_store: RecordingStore,
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    values = [1, 1.0, "1", True, None, "", [1], {"a": 1}, 12345678901234567890, "é"]
    for value in values:
        await store.inserts.insert(marked(1, v=value), vectors[:1], generation, None)
    await put_in_index(store)
    sought = [(1, 2), (1.0, 2), ("1", 1), (True, 1), (False, 0), (None, 1), ("", 1), ("é", 1)]
    for value, count in [*sought, (12345678901234567890, 1)]:
        query = SearchQuery("agent", "user", "q", 10, filters=SearchFilters(metadata={"v": value}))
        hits = await store.searches.search(query, vectors[0], generation, None)
        assert [hit.metadata["v"] for hit in hits] == [value] * count
    assert set(names) == {"search_sketched"}


async def test_a_sketch_of_another_scope_or_value_is_no_hit(
    pool: Pool, recording_store: RecordingStore
) -> None:
    """As if hashes were alike."""
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    (own,) = await store.inserts.insert(marked(1, rare=1), vectors[:1], generation, None)
    elsewhere = [("agent", "user", 2), ("agent", "other", 1), ("other", "user", 1)]
    other = [
        NewMemory(uuid7(), agent, user, "not to be seen", metadata={"rare": value})
        for agent, user, value in elsewhere
    ]
    for memory in other:
        await store.inserts.insert([memory], vectors[:1], generation, None)
    await put_in_index(store)
    query = SearchQuery("agent", "user", "q", 10, filters=SearchFilters(metadata={"rare": 1}))
    async with pool.acquire() as connection:
        for memory in other:
            await connection.execute(
                "insert into memory_sketches select sketch_key('agent', 'user', 'rare', '1'), "
                "created_at, id, importance, memory_type, expires_at, binary_quantize(embedding) "
                "from memories where id = $1",
                memory.id,
            )
    hits = await store.searches.search(query, vectors[0], generation, None)
    assert [hit.id for hit in hits] == [own.id]
    assert names == ["search_sketched"]


@pytest.mark.parametrize("passed_over", [100, 10])
async def test_words_are_looked_up_farther_where_few_of_their_memories_are_left(
    recording_store: RecordingStore, passed_over: int
) -> None:
    """The second word, of 60 memories: the filter leaves the one that is farthest away."""

    async def guessed(*_: object) -> int:
        return 30

    tuning = SearchTuning(likely_without_age=10, lexical=10, lexical_passed_over=passed_over)
    names, recording = recording_store.names, recording_store.store
    store = build_store(recording.pool, FEW, tuning=Tuning(tuning, guessed))
    query_vector = unit_vectors(1)[0]
    _, _, generation = await fill(store, 700)
    others = [NewMemory(uuid7(), "agent", "user", f"a needle {n}") for n in range(59)]
    others.append(NewMemory(uuid7(), "agent", "user", "a haystack"))
    await store.inserts.insert(others, unit_vectors(60), generation, None)
    await store.inserts.insert(marked(40, rare=1), unit_vectors(40), generation, None)
    far = NewMemory(uuid7(), "agent", "user", "that needle", metadata={"rare": 1})
    await store.inserts.insert([far], -query_vector[None], generation, None)
    await put_in_index(store)
    filters = SearchFilters(metadata={"rare": 1})
    ranking = Ranking(1.0, lexical_weight=10)
    query = SearchQuery("agent", "user", "haystack needle", 3, ranking, filters)
    hits = await store.searches.search(query, query_vector, generation, None)
    assert (hits[0].content == "that needle") is (passed_over == 100)
    assert names == ["search_sketched"]


async def test_nothing_but_the_index_of_sketches_is_read_of_them(pool: Pool) -> None:
    store = build_store(pool, FEW)
    _, vectors, _ = await fill(store, 3_000, contents=sentences(3_000))
    await put_in_index(store)
    async with pool.acquire() as connection:
        await connection.execute("vacuum analyze memory_sketches")
    filters = SearchFilters(metadata={"even": True})
    call = SearchCall(SearchQuery("agent", "user", "q", filters=filters), vectors[0], 1, None)
    (search,) = await prepared(store, call)
    large = build_store(pool, StoreSettings(exact_search_rows=2_000)).searches.large
    plan = await explain(pool, *large.by_sketches(search, Population(*[3_000] * 4)))
    assert "Index Only Scan" in plan
    assert "on memory_sketches" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("ranking", [Ranking(mode="lexical"), Ranking(0.9, fusion="rrf")], ids=str)
async def test_words_alone_and_ranks_have_all_scored(
    recording_store: RecordingStore, ranking: Ranking
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    await store.inserts.insert(marked(40, rare=1), unit_vectors(40), generation, None)
    await put_in_index(store)
    filters = SearchFilters(metadata={"rare": 1})
    query = SearchQuery("agent", "user", "rare 7", 50, ranking, filters)
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 40
    assert names == ["search_whole_of_few"]
