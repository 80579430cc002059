"""Searches of large scopes by sketches: what they find, and what they read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deployments.domain.memories import MemoryType, NewMemory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchCall, SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.searches.candidates import Population
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, Tuning, build_store
from tests.support.postgres.memories import (
    LARGE_FROM_500,
    RANDOM,
    RecordingStore,
    explain,
    fill,
    memories_with_metadata,
    prepare_searches,
    put_in_index,
    sentences,
    unit_vectors,
)

# As few, relative to a scope that a test can fill, as the defaults are to a scope of a million.
FEW_LIKELY = Tuning(search=SearchTuning(max_likely=100, max_likely_without_age=200))


async def test_search_by_sketches_finds_the_hits_of_exact_scoring(
    postgres_store: PostgresStore, recording_store: RecordingStore
) -> None:
    names, store = recording_store.names, recording_store.store
    settings = StoreSettings(exact_search_rows=2_000)
    sketch_store = build_store(store.pool, settings, tuning=FEW_LIKELY)
    query_vector = unit_vectors(1)[0]
    weights = RANDOM.uniform(0, 1, size=(3_000, 1)).astype(np.float32)
    vectors = weights * query_vector + (1 - weights) * unit_vectors(3_000)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, _, generation = await fill(sketch_store, 3_000, vectors=vectors, contents=sentences(3_000))
    await put_in_index(sketch_store)
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
        Ranking(0.0, 0.001, mode="semantic"),  # recency is 0, so that `created_at` breaks ties
        Ranking(mode="semantic"),
        Ranking(0.5, 5.0, 0.4, mode="semantic"),
        Ranking(),
        Ranking(0.9, 100.0, lexical_weight=0.2),
    ):
        found = total = 0
        names.clear()
        for text, filters, as_of in queries:
            filters = replace(filters, metadata=parse_filter({"even": True}))
            query = SearchQuery("agent", "user", text, 10, ranking, filters, as_of or now)
            expected = await postgres_store.searches.search(query, query_vector, generation, None)
            hits = await sketch_store.searches.search(query, query_vector, generation, None)
            assert len(hits) == len(expected)
            found += len({hit.id for hit in expected} & {hit.id for hit in hits})
            total += len(expected)
        assert total
        assert found / total >= 0.97, ranking
        assert "search_sketched" in names


async def test_search_by_sketches_returns_all_of_few_matching_memories(
    postgres_store: PostgresStore, recording_store: RecordingStore
) -> None:
    """Also with a type filter; expired memories are no hits."""
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    past = datetime.now(UTC) - timedelta(days=1)
    types = MemoryType.EPISODIC, MemoryType.PROCEDURAL
    rare = [
        replace(memory, memory_type=types[n % 2], expires_at=past if n > 35 else None)
        for n, memory in enumerate(memories_with_metadata(40, rare=True))
    ]
    await store.inserts.insert(rare, unit_vectors(40), generation, None)
    await put_in_index(store)
    for ranking in (Ranking(), Ranking(1.0), Ranking(mode="semantic")):
        for memory_type, count in ((None, 36), (MemoryType.PROCEDURAL, 18)):
            filters = SearchFilters(memory_type, parse_filter({"rare": True}))
            query = SearchQuery("agent", "user", "rare 3", 50, ranking, filters)
            query = replace(query, as_of=datetime.now(UTC) + timedelta(seconds=1))
            expected = await postgres_store.searches.search(query, vectors[0], generation, None)
            assert len(expected) == count
            assert await store.searches.search(query, vectors[0], generation, None) == expected
    assert names == ["search_sketched"] * 6


async def test_sketches_compare_metadata_values_as_json(
    recording_store: RecordingStore,
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    values = [1, 1.0, "1", True, None, "", [1], {"a": 1}, 12345678901234567890, "é"]
    values += [["é", 2, {"a": 3}, [4], "é"]]
    for value in values:
        await store.inserts.insert(
            memories_with_metadata(1, v=value), vectors[:1], generation, None
        )
    await put_in_index(store)
    counts = [(1, 3), (1.0, 3), ("1", 1), (True, 1), (False, 0), (None, 1), ("", 1), ("é", 2)]
    for value, count in [*counts, (2, 1), (12345678901234567890, 1)]:
        query = SearchQuery(
            "agent", "user", "q", 10, filters=SearchFilters(metadata=parse_filter({"v": value}))
        )
        hits = await store.searches.search(query, vectors[0], generation, None)
        assert len(hits) == count
        assert all(hit.metadata["v"] == value or value in hit.metadata["v"] for hit in hits)
    assert set(names) == {"search_sketched"}


async def test_sketch_key_collision_with_another_scope_or_value_is_no_hit(
    pool: Pool, recording_store: RecordingStore
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    (own,) = await store.inserts.insert(
        memories_with_metadata(1, rare=1), vectors[:1], generation, None
    )
    elsewhere = [("agent", "user", 2), ("agent", "other", 1), ("other", "user", 1)]
    other = [
        NewMemory(uuid7(), agent, user, "not to be seen", metadata={"rare": value})
        for agent, user, value in elsewhere
    ]
    for memory in other:
        await store.inserts.insert([memory], vectors[:1], generation, None)
    await put_in_index(store)
    query = SearchQuery(
        "agent", "user", "q", 10, filters=SearchFilters(metadata=parse_filter({"rare": 1}))
    )
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


@pytest.mark.parametrize("max_skipped", [100, 10])
async def test_selective_filter_widens_term_lookup(
    recording_store: RecordingStore, max_skipped: int
) -> None:
    """Sixty memories have `needle`; the filter leaves only the one farthest from the query."""

    async def expected_rows(*_: object) -> int:
        return 30

    tuning = SearchTuning(
        max_likely_without_age=10, max_lexical=10, max_lexical_skipped=max_skipped
    )
    names, recording = recording_store.names, recording_store.store
    store = build_store(recording.pool, LARGE_FROM_500, tuning=Tuning(tuning, expected_rows))
    query_vector = unit_vectors(1)[0]
    _, _, generation = await fill(store, 700)
    excluded = [NewMemory(uuid7(), "agent", "user", f"a needle {n}") for n in range(59)]
    excluded.append(NewMemory(uuid7(), "agent", "user", "a haystack"))
    await store.inserts.insert(excluded, unit_vectors(60), generation, None)
    await store.inserts.insert(
        memories_with_metadata(40, rare=1), unit_vectors(40), generation, None
    )
    far = NewMemory(uuid7(), "agent", "user", "that needle", metadata={"rare": 1})
    await store.inserts.insert([far], -query_vector[None], generation, None)
    await put_in_index(store)
    filters = SearchFilters(metadata=parse_filter({"rare": 1}))
    ranking = Ranking(1.0, lexical_weight=10)
    query = SearchQuery("agent", "user", "haystack needle", 3, ranking, filters)
    hits = await store.searches.search(query, query_vector, generation, None)
    assert (hits[0].content == "that needle") is (max_skipped == 100)
    assert names == ["search_sketched"]


async def test_search_reads_sketches_from_their_index_only(pool: Pool) -> None:
    store = build_store(pool, LARGE_FROM_500)
    _, vectors, _ = await fill(store, 3_000, contents=sentences(3_000))
    await put_in_index(store)
    async with pool.acquire() as connection:
        await connection.execute("vacuum analyze memory_sketches")
    filters = SearchFilters(metadata=parse_filter({"even": True}))
    call = SearchCall(SearchQuery("agent", "user", "q", filters=filters), vectors[0], 1, None)
    (search,) = await prepare_searches(store, call)
    large = build_store(pool, StoreSettings(exact_search_rows=2_000)).searches.large
    plan = await explain(pool, *large.by_sketches(search, Population(*[3_000] * 4)))
    assert "Index Only Scan" in plan
    assert "on memory_sketches" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("ranking", [Ranking(mode="lexical"), Ranking(0.9, fusion="rrf")], ids=str)
async def test_lexical_mode_and_rank_fusion_score_all_matching_memories(
    recording_store: RecordingStore, ranking: Ranking
) -> None:
    names, store = recording_store.names, recording_store.store
    _, vectors, generation = await fill(store, 700)
    await store.inserts.insert(
        memories_with_metadata(40, rare=1), unit_vectors(40), generation, None
    )
    await put_in_index(store)
    filters = SearchFilters(metadata=parse_filter({"rare": 1}))
    query = SearchQuery("agent", "user", "rare 7", 50, ranking, filters)
    assert len(await store.searches.search(query, vectors[0], generation, None)) == 40
    assert names == ["search_whole_of_few"]
