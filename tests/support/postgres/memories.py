"""Random memories to fill a database with, and the plans of statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import Memory, NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchCall
from deployments.runtime.ids import uuid7
from deployments.store.postgres.pool import Pool
from deployments.store.searches.candidates import Population
from deployments.store.searches.prepared import Prepared
from deployments.store.searches.repository import statement_of, together
from deployments.store.settings import StoreSettings
from deployments.store.sql import sql
from deployments.store.store import PostgresStore
from tests.support.fakes.embedder import DIMENSIONS, IDENTITY

LARGE_FROM_500 = StoreSettings(exact_search_rows=500)
"""Scopes are large from 501 memories, so that a test can fill one."""

RANDOM = np.random.default_rng(7)
_FIRST_STATE = RANDOM.bit_generator.state

RANKINGS = [
    Ranking(),
    Ranking(0.3, 5.0, 0.4),
    Ranking(0.0),
    Ranking(1.0, 1.0, 1.0, lexical_weight=2.0),
    Ranking(mode="semantic"),
    Ranking(mode="lexical"),
    Ranking(1.0, mode="lexical"),
    Ranking(0.9, fusion="rrf"),
]

_STOP_WORDS = {1: "the", 2: "of", 3: "and"}
_LETTERS = str.maketrans("0123456789", "bdfghjklmn")


@dataclass(frozen=True)
class RecordingStore:
    """A store that records the names of the search statements it sends."""

    names: list[str]
    store: PostgresStore


@dataclass(frozen=True)
class LargeScope:
    """3,000 memories of agent and user, all in the vector index, in a database to copy."""

    template: str
    vectors: Embeddings
    generation: int
    random_state: Mapping[str, Any]
    """The state of RANDOM after it generated the memories."""


def reset_random() -> None:
    """Reset RANDOM, so that a test's data do not depend on the tests before it."""
    RANDOM.bit_generator.state = _FIRST_STATE


def unit_vectors(count: int) -> Embeddings:
    vectors = RANDOM.normal(size=(count, DIMENSIONS)).astype(np.float32)
    unit: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def sentences(count: int, words: int = 12, vocabulary: int = 3_000) -> list[str]:
    """Sentences with Zipf-distributed words, of which the most frequent are stop words."""
    ranks = np.minimum(RANDOM.zipf(1.3, size=(count, words)), vocabulary)
    return [" ".join(map(word, row)) for row in ranks]


def word(rank: int) -> str:
    """The word of that frequency rank. It has only letters, so that no part of it is a word."""
    return _STOP_WORDS.get(rank, f"w{rank}".translate(_LETTERS))


async def fill(
    store: PostgresStore,
    count: int,
    user: str = "user",
    vectors: np.ndarray | None = None,
    contents: Sequence[str] | None = None,
) -> tuple[list[Memory], np.ndarray, int]:
    """Insert memories up to 2,000 hours old; every second has the metadata `even: true`.

    Returns the memories, their vectors (count, dimensions), and the generation.
    """
    generation = await store.generations.adopt_generation(IDENTITY)
    now = datetime.now(UTC)
    vectors = unit_vectors(count) if vectors is None else vectors
    new = [
        NewMemory(
            uuid7(),
            "agent",
            user,
            contents[n] if contents else f"memory {n}",
            importance=float(RANDOM.uniform(0, 2)),
            metadata={"even": n % 2 == 0},
            created_at=now - timedelta(hours=float(RANDOM.uniform(0, 2_000))),
        )
        for n in range(count)
    ]
    return await store.inserts.insert(new, vectors, generation, None), vectors, generation


def memories_with_metadata(count: int, **metadata: Any) -> list[NewMemory]:
    return [
        NewMemory(uuid7(), "agent", "user", f"{metadata} {n}", metadata=metadata)
        for n in range(count)
    ]


async def put_in_index(store: PostgresStore, user: str = "user") -> None:
    """List the scope as large and index its memories, as the store does with large scopes.

    The index is dropped first and rebuilt at once, which takes a fraction of the time.
    """
    async with store.pool.acquire() as connection:
        await connection.execute(*sql.list_scope(agent_id="agent", user_id=user))
        await connection.execute("drop index memories_embedding")
    await store.upkeep.fill_vector_index()
    async with store.pool.acquire() as connection:
        await connection.execute("select create_embedding_index($1)", DIMENSIONS)


async def explain(pool: Pool, statement: str, *args: object, sort: bool = True) -> str:
    """The plan of the statement as it ran, without the steps that never ran."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("analyze memories")
        await connection.execute(f"set local enable_sort = {'on' if sort else 'off'}")
        rows = await connection.fetch(
            f"explain (analyze, costs off, timing off) {statement}", *args
        )
    return "\n".join(row[0] for row in rows if "never executed" not in row[0])


async def prepare_searches(store: PostgresStore, *calls: SearchCall) -> list[Prepared]:
    """The searches, ready to become parameters of a statement."""
    async with store.pool.acquire() as connection:
        return await store.searches.prepare(connection, calls)


async def explain_search(
    store: PostgresStore, call: SearchCall, rows: int, sort: bool = True
) -> str:
    """The plan of a search. A large scope is treated as if it and the vector index had `rows`."""
    (search,) = await prepare_searches(store, call)
    if search.is_large:
        population = Population(indexed=rows, in_time=rows, matching=rows, recent=rows)
        bound = store.searches.large.by_candidates(search, population)
    else:
        bound = together(statement_of(search), [search])
    return await explain(store.pool, *bound, sort=sort)
