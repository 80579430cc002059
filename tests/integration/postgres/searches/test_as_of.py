"""Searches as of an earlier time in Postgres: statements, upgrades, models and plans."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import numpy as np
import pytest

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.memories import MemoryPatch
from deployments.domain.ranking import Ranking
from deployments.domain.search import Deferred, SearchCall, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool
from deployments.store.settings import SearchSettings, StoreSettings
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import DIMENSIONS, IDENTITY, embed_words
from tests.support.postgres.databases import connected
from tests.support.postgres.memories import (
    RecordingStore,
    explain,
    fill,
    prepare_searches,
    put_in_index,
    sentences,
    unit_vectors,
)
from tests.support.postgres.past import add, change, expired, search
from tests.support.postgres.reembedding import WIDER, Model, reembed, vector_of

LEXICAL = Ranking(1.0, mode="lexical")
SEMANTIC = Ranking(1.0, mode="semantic")


async def test_unchanged_scopes_are_searched_by_the_usual_statements(
    recording_store: RecordingStore,
) -> None:
    names, store = recording_store.names, recording_store.store
    await fill(store, 600, "large")
    await put_in_index(store, "large")
    memories = await add(store, "a fox", "an owl")
    then = datetime.now(UTC)
    await search(store, "fox", then)
    query = SearchQuery("agent", "large", "memory 7", as_of=then)
    await store.searches.search(query, unit_vectors(1)[0], 1, None)
    assert names == ["search_each_weighted", "search_large"]
    names.clear()
    await change(store, memories[0].id, "a bear")
    await search(store, "fox", then)
    await search(store, "fox", None)
    await search(store, "fox", datetime.now(UTC))
    assert names == ["search_as_of", "search_each_weighted", "search_each_weighted"]


async def test_searches_of_changed_scopes_are_deferred_if_they_share_a_call(
    postgres_store: PostgresStore,
) -> None:
    memories = await add(postgres_store, "a fox", "an owl")
    await asyncio.sleep(0.002)
    then = datetime.now(UTC)
    await change(postgres_store, memories[0].id, "a bear")
    calls = [
        SearchCall(SearchQuery("agent", user, "fox", as_of=as_of), embed_words("fox"), 1, None)
        for user, as_of in (("user", then), ("user", None), ("other", then))
    ]
    changed, current, other = await postgres_store.searches.search_each(calls)
    assert isinstance(changed, Deferred)
    assert {hit.content for hit in current} == {"a bear", "an owl"}  # type: ignore[union-attr]
    assert other == []
    (alone,) = await postgres_store.searches.search_each(calls[:1])
    assert {hit.content for hit in alone} == {"a fox", "an owl"}  # type: ignore[union-attr]


async def test_large_changed_scope_is_scored_whole(pool: Pool) -> None:
    """The hits are those of the time before the changes."""
    store = build_store(pool, StoreSettings(exact_search_rows=300))
    texts = sentences(600)
    memories, vectors, generation = await fill(store, 600, contents=texts)
    await put_in_index(store)
    then = datetime.now(UTC)
    ranking = Ranking(0.5, mode="semantic")
    query = SearchQuery("agent", "user", texts[3], 10, ranking, as_of=then)
    whole = build_store(pool, StoreSettings())
    before = await whole.searches.search(query, vectors[3], generation, None)
    for memory, vector in list(zip(memories, vectors, strict=True))[::2]:
        patch = MemoryPatch("something else")
        await store.memories.update("agent", memory.id, patch, -vector, generation, None)
    after = await store.searches.search(query, vectors[3], generation, None)
    assert [hit.id for hit in after] == [hit.id for hit in before]
    assert [hit.content for hit in after] == [hit.content for hit in before]


async def test_terms_of_versions_are_renewed(pool: Pool, postgres_store: PostgresStore) -> None:
    fox, _ = await add(postgres_store, "die Häuser am Fluss", "ein Fuchs")
    await asyncio.sleep(0.002)
    then = datetime.now(UTC)
    await change(postgres_store, fox.id, "ein Garten")
    german = build_store(pool, StoreSettings(), SearchSettings(language="german"))
    reports: list[tuple[int, int]] = []
    await german.upkeep.renew_terms()
    (best, *_) = await search(german, "Haus", then, LEXICAL)
    assert best.content == "die Häuser am Fluss"
    async with pool.acquire() as connection:
        await connection.execute("update memory_versions set lexicon = null, terms = null")
    await german.upkeep.reindex(lambda done, total: reports.append((done, total)))
    assert reports[-1] == (1, 1)
    (again, *_) = await search(german, "Haus", then, LEXICAL)
    assert again == best


async def test_versions_from_before_the_migration_are_found(empty_dsn: str) -> None:
    """Their words rank them at once, and their memories' present embeddings."""
    async with connected(empty_dsn) as connection:
        await migrate(connection, read_migrations()[:15])
        await _insert(connection, ["the meeting is in cedar", "tea is in oak"])
        then = await connection.fetchval("select clock_timestamp()")
        await connection.execute(
            "update memories set content = 'lunch is in ash', embedding = $1::text::vector, "
            "updated_at = now() where content like 'the meeting%'",
            str(embed_words("lunch is in ash").tolist()),
        )
        await migrate(connection, read_migrations())
    pool = Pool(empty_dsn, StoreSettings())
    store = build_store(pool, StoreSettings())
    await store.upkeep.renew_terms()
    for text, ranking in (("cedar", LEXICAL), ("lunch is in ash", SEMANTIC)):
        (best, _) = await search(store, text, then, ranking)
        assert (best.content, best.score) == ("the meeting is in cedar", 1.0)
    await pool.close()


async def _insert(connection: asyncpg.Connection, texts: Sequence[str]) -> None:
    await connection.execute(
        "insert into embedding_generations (model, revision, precision, dimensions) "
        "values ($1, $2, $3, $4)",
        *(IDENTITY.name, IDENTITY.revision, IDENTITY.precision, IDENTITY.dimensions),
    )
    for text in texts:
        await connection.execute(
            "insert into memories (id, agent_id, user_id, content, embedding, importance, "
            "memory_type, metadata, created_at, updated_at) "
            "values ($1, 'agent', 'user', $2, $3::text::vector, 1, 'episodic', '{}', now(), now())",
            uuid7(),
            text,
            str(embed_words(text).tolist()),
        )


async def test_versions_of_another_model_are_ranked_by_present_embeddings(
    dsn: str, postgres_store: PostgresStore
) -> None:
    fox, _ = await add(postgres_store, "a red fox", "an owl")
    await asyncio.sleep(0.002)
    then = datetime.now(UTC)
    await change(postgres_store, fox.id, "a bear")
    gone, _ = await expired(postgres_store, "a grey fox")
    await postgres_store.upkeep.purge_expired()
    await reembed(dsn, Model(WIDER))
    generation = await postgres_store.generations.adopt_generation(WIDER)
    query = SearchQuery("agent", "user", "a bear", 10, SEMANTIC, as_of=then)
    hits = await postgres_store.searches.search(query, vector_of(WIDER, "a bear"), generation, None)
    assert (hits[0].content, hits[0].score) == ("a red fox", 1.0)
    query = SearchQuery("agent", "user", "grey", 10, LEXICAL, as_of=gone[0].created_at)
    hits = await postgres_store.searches.search(query, vector_of(WIDER, "grey"), generation, None)
    assert (hits[0].content, hits[0].score) == ("a grey fox", 1.0)


async def test_kept_versions_do_not_bind_an_empty_store_to_a_model(
    postgres_store: PostgresStore,
) -> None:
    _, then = await expired(postgres_store, "a red fox")
    await postgres_store.upkeep.purge_expired()
    wide = ModelIdentity("some/wide-model", "abc", "as published", 2 * DIMENSIONS)
    generation = await postgres_store.generations.adopt_generation(wide)
    vector = np.ones(2 * DIMENSIONS, np.float32) / np.sqrt(np.float32(2 * DIMENSIONS))
    query = SearchQuery("agent", "user", "fox", as_of=then, ranking=SEMANTIC)
    (hit,) = await postgres_store.searches.search(query, vector, generation, None)
    assert (hit.content, hit.score) == ("a red fox", 0.0)


async def test_change_keeps_an_embedding_only_with_other_content(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    (memory,) = await add(postgres_store, "a red fox")
    await asyncio.sleep(0.002)
    then = datetime.now(UTC)
    patch = MemoryPatch(importance=2.0)
    await postgres_store.memories.update("agent", memory.id, patch, None, None, None)
    await change(postgres_store, memory.id, "a bear")
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select embedding is not null as has_embedding, terms is not null as has_terms "
            "from memory_versions order by version"
        )
    assert [tuple(row) for row in rows] == [(False, True), (True, True)]
    (hit,) = await search(postgres_store, "a red fox", then, SEMANTIC)
    assert hit.importance == 1.0
    assert hit.score == pytest.approx(1.0, abs=1e-4)


@pytest.fixture
async def changed_scopes(postgres_store: PostgresStore, pool: Pool) -> datetime:
    """The time before the changes: 40 scopes of 100 memories, of which 5 each are changed."""
    for n in range(40):
        await fill(postgres_store, 100, f"user {n}", contents=sentences(100))
    then = datetime.now(UTC)
    async with pool.acquire() as connection:
        await connection.execute(
            "update memories set content = 'changed', updated_at = now() where id = any(array("
            "select id from (select id, row_number() over (partition by user_id) as n "
            "from memories) as numbered where n <= 5))"
        )
        await connection.execute("vacuum analyze memories, memory_versions")
    return then


async def test_searches_as_of_use_the_indexes_of_scopes(
    pool: Pool, postgres_store: PostgresStore, changed_scopes: datetime
) -> None:
    query = SearchQuery("agent", "user 3", "is there a needle?", as_of=changed_scopes)
    (prepared,) = await prepare_searches(
        postgres_store, SearchCall(query, unit_vectors(1)[0], 1, None)
    )
    assert prepared.has_changed
    statement = sql.search_as_of(**prepared.values_of_one, include_superseded=False)
    plan = await explain(pool, *statement)
    assert "memories_scope" in plan
    assert "memory_versions_scope" in plan
    assert "Seq Scan" not in plan
    scopes = sql.scopes_changed_since(
        agent_ids=["agent"], user_ids=["user 3"], as_of=[changed_scopes]
    )
    plan = await explain(pool, *scopes)
    assert "memory_versions_scope" in plan
    assert "Seq Scan" not in plan
