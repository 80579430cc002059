"""What the lexical arm keeps beside the memories stays true, whatever happens to them."""

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
from tests.support.postgres.frequencies import counted, kept
from tests.support.postgres.memories import fill, prepared, sentences, unit_vectors, word

WORDS = Ranking(1.0, mode="lexical")


async def test_frequencies_follow_every_change(pool: Pool, postgres_store: PostgresStore) -> None:
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
    again = NewMemory(memories[0].id, "agent", "ana", "an id that is taken")
    await postgres_store.inserts.insert([again], unit_vectors(1), generation, None)
    assert await kept(pool) == await counted(pool)
    await postgres_store.memories.forget("agent", "ben")
    assert await kept(pool) == await counted(pool)
    for user in ("ana", "cy"):
        await postgres_store.memories.forget("agent", user)
    await postgres_store.upkeep.fold_frequencies()
    async with pool.acquire() as connection:  # no trace of what is forgotten
        assert await connection.fetchval("select count(*) from document_frequencies") == 0
        assert await connection.fetchval("select count(*) from document_frequency_changes") == 0


async def test_writers_and_upkeep_do_not_meet(dsn: str) -> None:
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
    assert await kept(pools[0]) == await counted(pools[0])
    for pool in pools:
        await pool.close()


async def test_reindexing_repairs_drift(pool: Pool, postgres_store: PostgresStore) -> None:
    await fill(postgres_store, 300, contents=sentences(300))
    async with pool.acquire() as connection:
        await connection.execute("update document_frequency_changes set memories = memories + 3")
        await connection.execute(
            "update memories set lexicon = null where metadata->>'even' = 'true'"
        )
    seen: list[tuple[int, int]] = []
    await postgres_store.upkeep.reindex(lambda done, total: seen.append((done, total)))
    assert await kept(pool) == await counted(pool)
    assert seen[0] == (0, 150)
    assert seen[-1] == (150, 150)


async def test_memories_of_before_are_indexed_as_the_store_runs(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    _, _, generation = await fill(postgres_store, 500, contents=[f"code {n}" for n in range(500)])
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set lexicon = null, terms = null, term_keys = null"
        )
    assert await kept(pool) == {}
    query = SearchQuery("agent", "user", "code 321", ranking=WORDS)
    vector = unit_vectors(1)[0]
    assert len(await postgres_store.searches.search(query, vector, generation, None)) == 10
    await postgres_store.upkeep.renew_terms()
    hits = await postgres_store.searches.search(query, vector, generation, None)
    assert hits[0].content == "code 321"
    assert await kept(pool) == await counted(pool)


@pytest.mark.parametrize(
    "settings",
    [SearchSettings(language="german"), SearchSettings(bm25_k1=0.5), SearchSettings(bm25_b=0.0)],
)
async def test_other_settings_renew_what_is_stored(
    pool: Pool, postgres_store: PostgresStore, settings: SearchSettings
) -> None:
    _, _, generation = await fill(postgres_store, 300, contents=[f"Haus {n}" for n in range(300)])
    changed = build_store(pool, StoreSettings(), settings)
    await changed.upkeep.renew_terms()
    fresh = build_store(pool, StoreSettings(), settings)
    await fill(fresh, 300, "fresh", contents=[f"Haus {n}" for n in range(300)])
    for user in ("user", "fresh"):
        query = SearchQuery(
            "agent", user, "Häuser 7" if settings.language == "german" else "haus 7", ranking=WORDS
        )
        hits = await fresh.searches.search(query, unit_vectors(1)[0], generation, None)
        assert hits[0].content == "Haus 7"
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(distinct lexicon) from memories") == 1
        assert await connection.fetchval("select count(*) from lexicons") == 2
        sums = await connection.fetch("select sum(l2_norm(terms)) from memories group by user_id")
        assert sums[0][0] == pytest.approx(sums[1][0], abs=1e-3)


async def test_a_newer_versions_terms_are_left_alone(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """While one version of the graph follows another, or from a shell with other settings."""
    await fill(postgres_store, 20, contents=sentences(20))
    german = build_store(pool, StoreSettings(), SearchSettings(language="german"))
    with pytest.raises(BadSetting, match="MEMEX_SEARCH_LANGUAGE"):
        await german.upkeep.reindex(lambda _done, _total: None)
    await postgres_store.upkeep.renew_terms()
    assert await kept(pool) == await counted(pool)
    await german.upkeep.renew_terms()
    await postgres_store.upkeep.renew_terms()
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from lexicons") == 2
        assert await connection.fetchval("select min(lexicon) from memories") == 2


async def test_scopes_whose_words_are_still_to_come_are_not_taken_for_small(pool: Pool) -> None:
    store = build_store(pool, StoreSettings(exact_search_rows=100))
    await fill(store, 200)
    query = SearchQuery("agent", "user", "memory 7")
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set lexicon = null, terms = null, term_keys = null"
        )
    (search,) = await prepared(store, SearchCall(query, unit_vectors(1)[0], 1, None))
    assert search.is_large


async def test_many_stores_adopt_one_lexicon(dsn: str) -> None:
    pools = [Pool(dsn, StoreSettings()) for _ in range(4)]
    stores = [build_store(pool, StoreSettings()) for pool in pools]
    await asyncio.gather(*(store.upkeep.renew_terms() for store in stores * 3))
    async with pools[0].acquire() as connection:
        assert await connection.fetchval("select count(*) from lexicons") == 1
    for pool in pools:
        await pool.close()


async def test_scopes_do_not_hear_each_other(pool: Pool, postgres_store: PostgresStore) -> None:
    """What others store, with the same words, moves no score by anything."""
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


async def test_an_irrelevant_memory_moves_scores_by_idf_alone(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    """Weights of stored words never change. So where the query's words are equally rare, a memory
    without them scales all BM25 scores by one factor, and no score moves at all; and BM25 keeps the
    order of two memories always when one has each of the words at least as weighty."""
    contents = ["red apple", "red apple red", "a long text with one apple and red in it", "nothing"]
    vectors = unit_vectors(4)
    _, _, generation = await fill(postgres_store, 4, vectors=vectors, contents=contents)
    vector = unit_vectors(1)[0]

    async def found(text: str) -> dict[str, float]:
        query = SearchQuery("agent", "user", text, 50, Ranking(1.0), explain=True)
        hits = await postgres_store.searches.search(query, vector, generation, None)
        return {h.content: h.score for h in hits if h.score is not None and h.content in contents}

    before = await found("red apple")
    single = await found("apple")
    irrelevant = [NewMemory(uuid7(), "agent", "user", text) for text in sentences(80)]
    far = np.repeat(-vector[None], 80, axis=0)
    await postgres_store.inserts.insert(irrelevant, far, generation, None)
    assert await found("red apple") == pytest.approx(before, abs=1e-4)
    assert await found("apple") == pytest.approx(single, abs=1e-4)


async def test_a_stored_sentence_finds_itself_first(
    postgres_store: PostgresStore, encoder: Encoder
) -> None:
    """Before others of the same words, or of more of them. By words alone it could not."""
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
