"""Helpers for the tests of re-embedding: models without weights, a run, and checks after it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import numpy as np
import pytest

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.store.generations import reembedding
from deployments.store.generations.active import active_identity
from deployments.store.postgres.pool import Connection, Pool
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore
from serve_app.operations.reembed.run import Run
from serve_app.settings import Settings
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.postgres.memories import fill, sentences

SAME_WIDTH = replace(IDENTITY, name="fake/other")
WIDER = ModelIdentity("fake/wider", "1", "as published", 520)
TABLE = """
select (select count(*) from memories where embedding is null) as missing,
    (select attnotnull from pg_attribute
     where attrelid = 'memories'::regclass and attname = 'embedding') as not_null,
    (select array_agg(indexdef order by indexdef) from pg_indexes
     where tablename = 'memories') as indexes,
    (select array_agg(tgname order by tgname) from pg_trigger
     where tgrelid = 'memories'::regclass and not tgisinternal) as triggers,
    (select array_agg(conname order by conname) from pg_constraint
     where conrelid = 'memories'::regclass and contype = 'c') as checks,
    (select array_agg(attname order by attname) from pg_attribute
     where attrelid = 'memories'::regclass and attnum > 0 and not attisdropped) as columns,
    (select attstorage from pg_attribute
     where attrelid = 'memories'::regclass and attname = 'embedding') as storage
"""


def vector_of(identity: ModelIdentity, text: str) -> Embeddings:
    """The unit vector that the model gives the text; models have unrelated vectors."""
    if identity == IDENTITY:
        return embed_words(text)
    vector = embed_words(f"{identity.name} {text}")
    resized = np.resize(vector[::-1], identity.dimensions)
    return resized / np.linalg.norm(resized)


class Model:
    """An embedder of one model. It awaits `before_answer` before each answer."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity
        self.embedded_texts: list[str] = []

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        assert (kind, identity) == ("passage", self.identity)
        await self.before_answer(texts)
        self.embedded_texts += texts
        return np.stack([vector_of(self.identity, text) for text in texts])

    async def before_answer(self, texts: Sequence[str]) -> None: ...


@asynccontextmanager
async def locked_connection(dsn: str) -> AsyncIterator[Connection]:
    """A connection that holds the lock of a re-embedding run."""
    pool = Pool(dsn, StoreSettings(max_pool_size=1))
    try:
        async with pool.acquire() as connection:
            await reembedding.lock(connection)
            yield connection
    finally:
        await pool.close()


async def reembed(dsn: str, model: Model, parallel: int = 3) -> None:
    """Do what `memex reembed` does once the model is loaded."""
    async with locked_connection(dsn) as connection:
        await reembedding.finish(connection)
        building = await reembedding.building_identity(connection)
        if building is None and await active_identity(connection) == model.identity:
            return
        await reembedding.begin(connection, model.identity)
        run = Run(connection, dsn, Settings(), model, model.identity, parallel)
        await run.build()
        await run.switch()
        await reembedding.finish(connection)


async def table_state(dsn: str) -> dict[str, Any]:
    """What a run must leave unchanged, or as in a new database of those dimensions."""
    connection = await asyncpg.connect(dsn)
    try:
        return dict(await connection.fetchrow(TABLE))
    finally:
        await connection.close()


async def new_table_state(store: PostgresStore, dsn: str, identity: ModelIdentity) -> Any:
    """The state of an empty table that adopts that model."""
    await store.generations.adopt_generation(identity)
    return await table_state(dsn)


async def check_searches(
    store: PostgresStore, identity: ModelIdentity, texts: Sequence[str]
) -> None:
    """Check that a search for a stored text finds it first, with the cosines of the model."""
    generation = await store.generations.adopt_generation(identity)
    memories = [m async for m in all_memories(store)]
    vectors = np.stack([vector_of(identity, memory.content) for memory in memories])
    for text in texts:
        vector = vector_of(identity, text)
        ranking = Ranking(1.0, mode="semantic")
        query = SearchQuery("agent", "user", text, 5, ranking, diversity=0)
        hits = await store.searches.search(query, vector, generation, None)
        expected = sorted((vectors @ vector).tolist(), reverse=True)[:5]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=2e-4)
        assert hits[0].content == text


async def all_memories(store: PostgresStore) -> Any:
    after = None
    while True:
        page = await store.memories.list_page("agent", "user", page_size=100, after=after)
        for memory in page.memories:
            yield memory
        if (after := page.next_key) is None:
            return


async def fill_with_sentences(store: PostgresStore, count: int = 150) -> list[str]:
    contents = [f"{n} {text}" for n, text in enumerate(sentences(count))]
    await fill(
        store, count, vectors=np.stack([embed_words(text) for text in contents]), contents=contents
    )
    return contents
