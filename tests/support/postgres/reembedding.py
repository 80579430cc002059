"""Moving memories to another model: models without weights, a run, and what it must leave as it
was."""

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
    """As the model of that identity would embed it: no model's vectors are like another's."""
    if identity == IDENTITY:
        return embed_words(text)
    other = embed_words(f"{identity.name} {text}")
    wide = np.resize(other[::-1], identity.dimensions)
    return wide / np.linalg.norm(wide)


class Model:
    """An embedder of one model; `meanwhile` happens before each answer."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity
        self.embedded: list[str] = []

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        assert (kind, identity) == ("passage", self.identity)
        await self.meanwhile(texts)
        self.embedded += texts
        return np.stack([vector_of(self.identity, text) for text in texts])

    async def meanwhile(self, texts: Sequence[str]) -> None: ...


@asynccontextmanager
async def locked(dsn: str) -> AsyncIterator[Connection]:
    """A connection as a run has it."""
    pool = Pool(dsn, StoreSettings(max_pool_size=1))
    try:
        async with pool.acquire() as connection:
            await reembedding.lock(connection)
            yield connection
    finally:
        await pool.close()


async def move(dsn: str, model: Model, parallel: int = 3) -> None:
    """What `memex reembed` does once the model is up."""
    async with locked(dsn) as connection:
        await reembedding.finish(connection)
        building = await reembedding.building_identity(connection)
        if building is None and await active_identity(connection) == model.identity:
            return
        await reembedding.begin(connection, model.identity)
        run = Run(connection, dsn, Settings(), model, model.identity, parallel)
        await run.build()
        await run.switch()
        await reembedding.finish(connection)


async def table(dsn: str) -> dict[str, Any]:
    """All that a run must leave as it was, or as it is in a new database of that width."""
    connection = await asyncpg.connect(dsn)
    try:
        found = dict(await connection.fetchrow(TABLE))
    finally:
        await connection.close()
    return found


async def new_table(store: PostgresStore, dsn: str, identity: ModelIdentity) -> Any:
    """As it is where the first memory was of that model."""
    await store.generations.adopt_generation(identity)
    return await table(dsn)


async def check_searches(
    store: PostgresStore, identity: ModelIdentity, texts: Sequence[str]
) -> None:
    """Each search of a stored text finds it, with the cosine that the model gives, first."""
    generation = await store.generations.adopt_generation(identity)
    memories = [m async for m in _all(store)]
    rows = np.stack([vector_of(identity, memory.content) for memory in memories])
    for text in texts:
        asked = vector_of(identity, text)
        query = SearchQuery("agent", "user", text, 5, Ranking(1.0, mode="semantic"))
        hits = await store.searches.search(query, asked, generation, None)
        expected = sorted((rows @ asked).tolist(), reverse=True)[:5]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=2e-4)
        assert hits[0].content == text


async def _all(store: PostgresStore) -> Any:
    after = None
    while True:
        page = await store.memories.list_page("agent", "user", page_size=100, after=after)
        for memory in page.memories:
            yield memory
        if (after := page.next_key) is None:
            return


async def filled(store: PostgresStore, count: int = 150) -> list[str]:
    contents = [f"{n} {text}" for n, text in enumerate(sentences(count))]
    await fill(
        store, count, vectors=np.stack([embed_words(text) for text in contents]), contents=contents
    )
    return contents
