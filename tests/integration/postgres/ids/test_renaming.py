"""Scopes whose ids are older than the rules for ids get ids that follow them."""

from uuid import UUID

import pytest

from deployments.domain.memories import MemoryPatch, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from deployments.store.store import PostgresStore, build_store
from tests.support.fakes.embedder import IDENTITY
from tests.support.postgres.frequencies import recounted_frequencies, stored_frequencies
from tests.support.postgres.memories import unit_vectors

LEXICAL = Ranking(1.0, mode="lexical")


async def _store(store: PostgresStore, agent: str, user: str, *contents: str) -> list[UUID]:
    generation = await store.generations.adopt_generation(IDENTITY)
    memories = [NewMemory(uuid7(), agent, user, content) for content in contents]
    await store.inserts.insert(memories, unit_vectors(len(memories)), generation, None)
    return [memory.id for memory in memories]


async def test_scopes_are_renamed_with_versions_and_terms(
    pool: Pool, postgres_store: PostgresStore
) -> None:
    store = postgres_store
    (kept,) = await _store(store, "ana", "u", "the kept lantern")
    odd = await _store(store, "ana\n", "u ", "a lantern at sea", "nothing else")
    await _store(store, "été", "ü", "untouched")
    await store.memories.update("ana\n", odd[1], MemoryPatch(importance=1.5), None, None, None)
    (renaming,) = await store.ids.renamings()
    assert (renaming.agent_id, renaming.user_id) == ("ana\n", "u ")
    assert (renaming.new_agent_id, renaming.new_user_id) == ("ana", "u")
    assert (renaming.memories, renaming.joins) == (2, True)

    pages: list[int] = []
    await store.ids.rename(renaming, pages.append)
    assert sum(pages) == 2
    assert await store.ids.renamings() == []
    assert await store.memories.get("ana\n", odd[0]) is None
    moved = await store.memories.get("ana", odd[0])
    assert moved is not None
    assert (moved.user_id, moved.content) == ("u", "a lantern at sea")
    versions = await store.memories.history("ana", odd[1], None, 10)
    assert versions is not None
    assert len(versions) == 1
    query = SearchQuery("ana", "u", "lantern", ranking=LEXICAL)
    hits = await store.searches.search(query, unit_vectors(1)[0], 1, None)
    assert {hit.id for hit in hits[:2]} == {kept, odd[0]}
    await store.upkeep.fold_frequencies()
    assert await stored_frequencies(pool) == await recounted_frequencies(pool)


async def test_renamed_large_scope_is_indexed_again(pool: Pool) -> None:
    store = build_store(pool, StoreSettings(exact_search_rows=100))
    await _store(store, " a", "u", *(f"memory {n}" for n in range(150)))
    async with pool.acquire() as connection:
        await connection.execute(*sql.list_scope(agent_id=" a", user_id="u"))
    await store.upkeep.fill_vector_index()
    (renaming,) = await store.ids.renamings()
    await store.ids.rename(renaming, lambda _memories: None)
    query = SearchQuery("a", "u", "memory 7", ranking=LEXICAL)
    for _ in range(2):
        hits = await store.searches.search(query, unit_vectors(1)[0], 1, None)
        assert "memory 7" in [hit.content for hit in hits]
        await store.upkeep.fill_vector_index()
    async with pool.acquire() as connection:
        listed = await connection.fetch("select agent_id, is_filled from indexed_scopes")
        assert [tuple(row) for row in listed] == [("a", True)]


@pytest.mark.parametrize(("agent", "user"), [("..", "u"), ("a", "\u200b")])
async def test_ids_that_cannot_be_mended_get_one_of_their_own(
    postgres_store: PostgresStore, agent: str, user: str
) -> None:
    await _store(postgres_store, agent, user, "text")
    (renaming,) = await postgres_store.ids.renamings()
    assert "id-" in renaming.new_agent_id + renaming.new_user_id
    await postgres_store.ids.rename(renaming, lambda _memories: None)
    assert await postgres_store.ids.renamings() == []
