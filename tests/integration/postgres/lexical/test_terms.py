"""Stored terms, document frequencies and lexicons: they follow the memories and the settings."""

import asyncio
import random

import numpy as np
import pytest

from deployments.domain.errors import BadSetting
from deployments.domain.memories import MemoryPatch, NewMemory
from deployments.domain.ports.embedding import Encoder
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchCall, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import SearchSettings, StoreSettings
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.frequencies import recounted_frequencies, stored_frequencies
from tests.support.postgres.memories import fill, prepare_searches, sentences, unit_vectors, word

LEXICAL = Ranking(1.0, mode="lexical")


async def test_document_frequencies_follow_every_change(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    memories = []
    for user in ("ana", "ben", "cy"):
        stored, _, generation = await fill(postgres_store, 60, user, contents=sentences(60))
        memories += stored
    rng = random.Random(5)
    for step, memory in enumerate(rng.sample(memories, 60)):
        if step % 3 == 0:
            await postgres_store.memories.delete("agent", memory.id)
        elif step % 3 == 1:
            patch = MemoryPatch(content=f"other words {step}")
            vector = unit_vectors(1)[0]
            await postgres_store.memories.update(
                "agent", memory.id, patch, vector, generation, None
            )
        else:
            patch = MemoryPatch(importance=2.0)
            await postgres_store.memories.update("agent", memory.id, patch, None, None, None)
        if step % 10 == 0:
            await postgres_store.upkeep.fold_frequencies()
    existing = NewMemory(memories[0].id, "agent", "ana", "an id that exists")
    await postgres_store.inserts.insert([existing], unit_vectors(1), generation, None)
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    await postgres_store.memories.forget("agent", "ben")
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    for user in ("ana", "cy"):
        await postgres_store.memories.forget("agent", user)
    await postgres_store.upkeep.fold_frequencies()
    async with pool.acquire() as connection:  # no frequency of forgotten terms remains
        assert await connection.fetchval("select count(*) from document_frequencies") == 0
        assert await connection.fetchval("select count(*) from document_frequency_changes") == 0


async def test_document_frequencies_are_exact_after_concurrent_writes_and_folds(dsn: str) -> None:
    pools = [Pool(dsn, StoreSettings()) for _ in range(2)]
    stores = [build_store(pool, StoreSettings()) for pool in pools]
    generation = await stores[0].generations.adopt_generation(IDENTITY)

    async def write(n: int) -> None:
        store = stores[n % 2]
        memories = [NewMemory(uuid7(), "agent", "user", text) for text in sentences(20)]
        await store.inserts.insert(memories, unit_vectors(20), generation, None)
        await store.memories.delete("agent", memories[0].id)
        await store.upkeep.fold_frequencies()

    await asyncio.gather(*(write(n) for n in range(30)))
    assert await stored_frequencies(pools[0]) == await recounted_frequencies(pools[0])
    for pool in pools:
        await pool.close()


async def test_reindex_corrects_wrong_document_frequencies(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    await fill(postgres_store, 300, contents=sentences(300))
    async with pool.acquire() as connection:
        await connection.execute("update document_frequency_changes set memories = memories + 3")
        await connection.execute(
            "update memories set lexicon = null where metadata->>'even' = 'true'"
        )
    reports: list[tuple[int, int]] = []
    await postgres_store.upkeep.reindex(lambda done, total: reports.append((done, total)))
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    assert reports[0] == (0, 150)
    assert reports[-1] == (150, 150)


async def test_upkeep_adds_missing_terms(pool: Pool, postgres_store: PostgresStore) -> None:
    _, _, generation = await fill(postgres_store, 500, contents=[f"code {n}" for n in range(500)])
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set lexicon = null, terms = null, term_keys = null"
        )
    assert await stored_frequencies(pool) == {}
    query = SearchQuery("agent", "user", "code 321", ranking=LEXICAL)
    vector = unit_vectors(1)[0]
    assert len(await postgres_store.searches.search(query, vector, generation, None)) == 10
    await postgres_store.upkeep.renew_terms()
    hits = await postgres_store.searches.search(query, vector, generation, None)
    assert hits[0].content == "code 321"
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)


@pytest.mark.parametrize(
    "settings",
    [SearchSettings(language="german"), SearchSettings(bm25_k1=0.5), SearchSettings(bm25_b=0.0)],
)
async def test_changed_settings_renew_the_stored_terms(
    pool: Pool, postgres_store: PostgresStore, settings: SearchSettings
) -> None:
    _, _, generation = await fill(postgres_store, 300, contents=[f"Haus {n}" for n in range(300)])
    changed = build_store(pool, StoreSettings(), settings)
    await changed.upkeep.renew_terms()
    fresh = build_store(pool, StoreSettings(), settings)
    await fill(fresh, 300, "fresh", contents=[f"Haus {n}" for n in range(300)])
    for user in ("user", "fresh"):
        query = SearchQuery(
            "agent",
            user,
            "Häuser 7" if settings.language == "german" else "haus 7",
            ranking=LEXICAL,
        )
        hits = await fresh.searches.search(query, unit_vectors(1)[0], generation, None)
        assert hits[0].content == "Haus 7"
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(distinct lexicon) from memories") == 1
        assert await connection.fetchval("select count(*) from lexicons") == 2
        sums = await connection.fetch("select sum(l2_norm(terms)) from memories group by user_id")
        assert sums[0][0] == pytest.approx(sums[1][0], abs=1e-3)


async def test_a_new_analyzer_renews_the_terms_and_finds_memories_by_the_old_ones_until_then(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    _, _, generation = await fill(postgres_store, 300, contents=[f"code {n}" for n in range(300)])
    async with pool.acquire() as connection:
        await connection.execute("update lexicons set analyzer_version = analyzer_version - 1")
        before = await stored_frequencies(pool)
        upgraded = build_store(pool, StoreSettings())
        query = SearchQuery("agent", "user", "code 123", ranking=LEXICAL)
        for _ in range(2):
            hits = await upgraded.searches.search(query, unit_vectors(1)[0], generation, None)
            assert (hits[0].content, hits[0].score) == ("code 123", 1.0)
            await upgraded.upkeep.renew_terms()
        assert await stored_frequencies(pool) == before == await recounted_frequencies(pool)
        assert await connection.fetchval("select min(lexicon) from memories") == 2


async def test_terms_of_a_newer_lexicon_are_not_renewed(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """A store with older settings may still run during an upgrade, or in a shell."""
    await fill(postgres_store, 20, contents=sentences(20))
    german = build_store(pool, StoreSettings(), SearchSettings(language="german"))
    with pytest.raises(BadSetting, match="MEMEX_SEARCH_LANGUAGE"):
        await german.upkeep.reindex(lambda _done, _total: None)
    await postgres_store.upkeep.renew_terms()
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)
    await german.upkeep.renew_terms()
    await postgres_store.upkeep.renew_terms()
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from lexicons") == 2
        assert await connection.fetchval("select min(lexicon) from memories") == 2


async def test_large_scope_without_stored_terms_is_not_taken_for_small(pool: Pool) -> None:
    store = build_store(pool, StoreSettings(exact_search_rows=100))
    await fill(store, 200)
    query = SearchQuery("agent", "user", "memory 7")
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set lexicon = null, terms = null, term_keys = null"
        )
    (search,) = await prepare_searches(store, SearchCall(query, unit_vectors(1)[0], 1, None))
    assert search.is_large


async def test_many_stores_adopt_one_lexicon(dsn: str) -> None:
    pools = [Pool(dsn, StoreSettings()) for _ in range(4)]
    stores = [build_store(pool, StoreSettings()) for pool in pools]
    await asyncio.gather(*(store.upkeep.renew_terms() for store in stores * 3))
    async with pools[0].acquire() as connection:
        assert await connection.fetchval("select count(*) from lexicons") == 1
    for pool in pools:
        await pool.close()


async def test_memories_of_other_scopes_change_no_score(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """Even if they have the same terms."""
    _, _, generation = await fill(postgres_store, 100, contents=sentences(100))
    vector = unit_vectors(1)[0]
    text = " ".join(map(word, (4, 5, 7, 40)))

    async def scores() -> list[float | None]:
        query = SearchQuery("agent", "user", text, 50, Ranking(1.0))
        return [
            hit.score
            for hit in await postgres_store.searches.search(query, vector, generation, None)
        ]

    before = await scores()
    for agent, user in (("other", "user"), ("agent", "other")):
        memories = [NewMemory(uuid7(), agent, user, text) for _ in range(50)]
        await postgres_store.inserts.insert(memories, unit_vectors(50), generation, None)
    assert await scores() == before


async def test_irrelevant_memories_change_no_score_if_the_query_terms_are_equally_rare(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """Stored term weights never change. If the query's terms are equally rare, memories without
    them scale all BM25 scores by one factor, and no score changes. In any case BM25 keeps the order
    of two memories of which one has at least the other's weight for each term."""
    contents = ["red apple", "red apple red", "a long text with one apple and red in it", "nothing"]
    vectors = unit_vectors(4)
    _, _, generation = await fill(postgres_store, 4, vectors=vectors, contents=contents)
    vector = unit_vectors(1)[0]

    async def scores(text: str) -> dict[str, float]:
        query = SearchQuery("agent", "user", text, 50, Ranking(1.0), explain=True)
        hits = await postgres_store.searches.search(query, vector, generation, None)
        return {h.content: h.score for h in hits if h.score is not None and h.content in contents}

    both_terms = await scores("red apple")
    one_term = await scores("apple")
    irrelevant = [NewMemory(uuid7(), "agent", "user", text) for text in sentences(80)]
    far = np.repeat(-vector[None], 80, axis=0)
    await postgres_store.inserts.insert(irrelevant, far, generation, None)
    assert await scores("red apple") == pytest.approx(both_terms, abs=1e-4)
    assert await scores("apple") == pytest.approx(one_term, abs=1e-4)


async def test_search_for_a_stored_sentence_finds_it_first(
    postgres_store: PostgresStore, encoder: Encoder
) -> None:
    """Others have the same terms, or more of them, so that lexical search could not."""
    texts = [
        "I like tea",
        "I like tea, tea and more tea; I like it so",
        "Ana likes tea and Ana likes tea with milk",
        "Ana likes tea",
        "Ben met Ana",
        "Ana met Ben",
        "Ana is allergic to nuts",
        "Ana is not allergic to nuts",
        "Set max_ongoing_requests in src/app/main.py",
        "Das Büro in der Straße ist zu",
        "北京的烤鸭很好吃",
        "who are you",
    ]
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    memories = [NewMemory(uuid7(), "agent", "user", text) for text in texts]
    vectors = np.concatenate([encoder.encode([text], "passage") for text in texts])
    await postgres_store.inserts.insert(memories, vectors, generation, None)
    for ranking in (Ranking(1.0), Ranking(1.0, mode="semantic")):
        for text, vector in zip(texts, vectors, strict=True):
            query = SearchQuery("agent", "user", text, 1, ranking)
            (hit,) = await postgres_store.searches.search(query, vector, generation, None)
            assert hit.content == text
