"""Pages of hits in Postgres: how many statements they take, large scopes, several calls at once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import Memory, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import Deferred, SearchCall, SearchFilters, SearchQuery
from deployments.store.postgres.pool import Pool
from deployments.store.searches.tuning import SearchTuning
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, Tuning, build_store
from tests.support.fakes.embedder import embed_words
from tests.support.fakes.store import in_memory_store
from tests.support.postgres.memories import RecordingStore, fill, put_in_index, unit_vectors

COPY = "the deploy window is tuesday at nine"
OTHER = "deploys need two approvals from the platform team"
QUERY = "deploy window tuesday the platform"
SEMANTIC = Ranking(1.0, mode="semantic")


async def fill_with_copies(
    store: PostgresStore, copies: int, others: Sequence[str] = (OTHER,), user: str = "user"
) -> int:
    """Store that many copies and the others; the generation."""
    texts = [COPY] * copies + [*others]
    vectors = np.stack([embed_words(text) for text in texts])
    _, _, generation = await fill(store, len(texts), user, vectors, texts)
    return generation


async def search(
    store: PostgresStore, query: SearchQuery, generation: int, vector: Embeddings | None = None
) -> list[Memory]:
    rows = embed_words(query.text) if vector is None else vector
    return await store.searches.search(query, rows, generation, None)


async def test_page_without_near_copies_takes_one_statement(
    recording_store: RecordingStore,
) -> None:
    _, vectors, generation = await fill(recording_store.store, 50)
    await search(recording_store.store, SearchQuery("agent", "user", "q"), generation, vectors[0])
    assert recording_store.names == ["search_each_weighted"]


async def test_search_reads_more_until_copies_do_not_fill_the_page(
    recording_store: RecordingStore,
) -> None:
    generation = await fill_with_copies(recording_store.store, 400)
    query = SearchQuery("agent", "user", QUERY, 5, SEMANTIC)
    hits = await search(recording_store.store, query, generation)
    assert [hit.content for hit in hits].count(OTHER) == 1
    assert recording_store.names == ["search_each_weighted"] * 3  # 7, 56, 401


async def test_search_reads_a_bounded_number_of_candidates(pool: Pool) -> None:
    tuning = Tuning(search=SearchTuning(max_candidates=100))
    store = build_store(pool, StoreSettings(), tuning=tuning)
    generation = await fill_with_copies(store, 200)
    query = SearchQuery("agent", "user", QUERY, 5, SEMANTIC)
    assert [hit.content for hit in await search(store, query, generation)] == [COPY] * 5


async def test_hits_equal_those_of_the_in_memory_store(pool: Pool) -> None:
    """Clusters of near-copies of any nearness, some larger than a page."""
    store = build_store(pool, StoreSettings())
    centres = unit_vectors(6)
    vectors = np.repeat(centres, [1, 2, 4, 8, 16, 32], axis=0) + 0.35 * unit_vectors(63)
    vectors = np.concatenate([vectors, unit_vectors(30)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [f"memory {n}" for n in range(len(vectors))]
    memories, _, generation = await fill(store, len(texts), vectors=vectors, contents=texts)
    reference = in_memory_store()
    new = [
        NewMemory(m.id, "agent", "user", m.content, m.importance, created_at=m.created_at)
        for m in memories
    ]
    await reference.inserts.insert(new, vectors, 1, None)
    for diversity in (0.0, 0.05, 0.1, 0.5, 1.0):
        for top_k in (1, 2, 5, 10, 50):
            for ranking in (SEMANTIC, Ranking(0.5, mode="semantic")):
                query = SearchQuery("agent", "user", "q", top_k, ranking, diversity=diversity)
                query = replace(query, as_of=max(m.created_at for m in memories))
                for vector in centres[:5] + 0.3 * unit_vectors(5):
                    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
                    hits = await search(store, query, generation, unit)
                    expected = await reference.searches.search(query, unit, 1, None)
                    assert [h.score for h in hits] == pytest.approx(
                        [h.score for h in expected], abs=2e-4
                    )


@pytest.mark.parametrize("chunks", [(), ("deploy window tuesday", "the platform team")])
async def test_copies_do_not_fill_the_page_of_a_large_scope(
    pool: Pool, chunks: tuple[str, ...]
) -> None:
    store = build_store(pool, StoreSettings(exact_search_rows=50))
    generation = await fill_with_copies(store, 100, [OTHER, *(f"note {n}" for n in range(20))])
    await put_in_index(store)
    vectors = np.stack([embed_words(text) for text in chunks or (QUERY,)])
    query = SearchQuery("agent", "user", QUERY, 5, Ranking(1.0), chunks=chunks)
    hits = await search(store, query, generation, vectors if chunks else vectors[0])
    assert len(hits) == len({hit.id for hit in hits}) == 5
    assert {COPY, OTHER} <= {hit.content for hit in hits}


@pytest.mark.parametrize("include_superseded", [False, True])
async def test_calls_together_have_the_hits_of_single_calls(
    pool: Pool, include_superseded: bool
) -> None:
    store = build_store(pool, StoreSettings())
    for user, copies in (("few", 3), ("many", 60), ("no", 0)):
        others = [OTHER, *(f"note {n} of {user}" for n in range(30))]
        generation = await fill_with_copies(store, copies, others, user)
    rankings = [Ranking(), Ranking(1.0, fusion="rrf"), SEMANTIC, Ranking(mode="lexical")]
    chunks = ("deploy window", "note 7", "the platform team")
    calls = []
    for number, user in enumerate(("few", "many", "no", "few", "many", "nobody") * 2):
        query = SearchQuery(
            "agent", user, QUERY, 2 + number, rankings[number % 4], explain=True,
            include_superseded=include_superseded,
        )  # fmt: skip
        if number % 2:
            query = replace(query, chunks=chunks)
        vectors = np.stack([embed_words(text) for text in query.chunks or (QUERY,)])
        calls.append(SearchCall(query, vectors if query.chunks else vectors[0], generation, None))
    together = await store.searches.search_each(calls)
    for call, outcome in zip(calls, together, strict=True):
        (single,) = await store.searches.search_each([call])
        assert isinstance(single, list)
        if include_superseded:
            assert isinstance(outcome, Deferred)
            continue
        assert isinstance(outcome, list)
        assert [hit.id for hit in outcome] == [hit.id for hit in single]


async def test_long_query_is_deferred_if_its_chunks_score_too_many_memories(pool: Pool) -> None:
    store = build_store(pool, StoreSettings(), tuning=Tuning(SearchTuning(max_shared_rows=100)))
    _, vectors, generation = await fill(store, 40)
    chunks = ("one", "two", "three")
    long = SearchCall(
        SearchQuery("agent", "user", "q", chunks=chunks), vectors[:3], generation, None
    )
    short = SearchCall(SearchQuery("agent", "user", "q"), vectors[0], generation, None)
    deferred, answered = await store.searches.search_each([long, short])
    assert isinstance(deferred, Deferred)
    assert isinstance(answered, list)
    (alone,) = await store.searches.search_each([long])
    assert isinstance(alone, list)
    assert len(alone) == 10


async def test_floor_applies_to_every_kind_of_statement(pool: Pool) -> None:
    """Of small and large scopes, alone and together, with superseded memories."""
    for exact_rows, user in ((20_000, "small"), (0, "large")):
        store = build_store(pool, StoreSettings(exact_search_rows=exact_rows))
        generation = await fill_with_copies(store, 1, [OTHER, "ana likes tea"], user)
        await put_in_index(store, user)
        for ranking in (Ranking(), Ranking(fusion="rrf"), SEMANTIC):
            for include_superseded in (False, True):
                query = SearchQuery(
                    "agent", user, "tea", ranking=ranking, include_superseded=include_superseded,
                    filters=SearchFilters(min_similarity=0.3),
                )  # fmt: skip
                hits = await search(store, query, generation)
                assert [hit.content for hit in hits] == ["ana likes tea"]
