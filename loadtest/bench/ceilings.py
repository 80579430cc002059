"""The rate of the store's search statement alone, on all cores."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from deployments.domain.embeddings import Embeddings
from deployments.domain.memories import NewMemory
from deployments.domain.search import SearchQuery
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool, connect
from deployments.store.settings import StoreSettings
from deployments.store.store import build_store
from loadtest.scenarios import AGENTS, SEEDED, USERS
from loadtest.texts import text
from serve_app.operations.machine import processes

_QUERIES = 200
_START_TIMEOUT_S = 60.0

_all_ready: Barrier  # set in each worker process


def cores() -> int:
    return len(os.sched_getaffinity(0))


def searches_per_s(dsn: str, models_dir: Path, duration_s: int) -> float:
    """Fill the database of `dsn`, then search it, with a process and a connection for each core."""
    generation = asyncio.run(_fill(dsn, models_dir))
    return _on_all_cores(_search, models_dir, dsn, generation, duration_s)


def _on_all_cores(work: Callable[..., float], *arguments: object) -> float:
    context = multiprocessing.get_context("spawn")
    count = cores()
    with ProcessPoolExecutor(
        count, context, initializer=_begin, initargs=(context.Barrier(count),)
    ) as pool:
        futures = [pool.submit(work, *arguments) for _ in range(count)]
        return sum(future.result() for future in futures)


def _begin(barrier: Barrier) -> None:
    global _all_ready
    _all_ready = barrier
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent handles the terminal's Ctrl-C
    processes.die_with_parent(signal.SIGKILL)


async def _fill(dsn: str, models_dir: Path) -> int:
    """Fill scopes like those of the service; return the generation of the embeddings."""
    encoder = load_encoder(EmbeddingSettings(), models_dir, threads=1)
    settings = StoreSettings(max_pool_size=1)
    connection = await connect(dsn, settings)
    await migrate(connection, read_migrations())
    pool = Pool(dsn, settings)
    store = build_store(pool, settings)
    generation = await store.generations.adopt_generation(encoder.identity)
    for round_ in range(SEEDED):
        texts = [text(round_ * AGENTS * USERS + pair) for pair in range(AGENTS * USERS)]
        new = [NewMemory(uuid7(), *_scope(pair), content) for pair, content in enumerate(texts)]
        vectors = await asyncio.to_thread(encoder.encode, texts, "passage")
        await store.inserts.insert(new, vectors, generation, None)
    await store.upkeep.fold_frequencies()
    await pool.close()
    await connection.execute("vacuum analyze")
    await connection.close()
    return generation


def _search(models_dir: Path, dsn: str, generation: int, duration_s: int) -> float:
    encoder = load_encoder(EmbeddingSettings(), models_dir, threads=1)
    queries = [text(AGENTS * USERS * SEEDED + number) for number in range(_QUERIES)]
    vectors = encoder.encode(queries, "query")
    return asyncio.run(_search_on(dsn, generation, queries, vectors, duration_s))


async def _search_on(
    dsn: str, generation: int, queries: list[str], vectors: Embeddings, duration_s: int
) -> float:
    settings = StoreSettings(max_pool_size=1)
    pool = Pool(dsn, settings)
    store = build_store(pool, settings)
    await pool.open()
    scopes = np.random.default_rng(os.getpid())
    await asyncio.to_thread(_all_ready.wait, _START_TIMEOUT_S)
    done, started = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - started) < duration_s:
        number = done % len(queries)
        query = SearchQuery(*_scope(int(scopes.integers(AGENTS * USERS))), queries[number])
        await store.searches.search(query, vectors[number], generation, None)
        done += 1
    await pool.close()
    return done / elapsed_s


def _scope(pair: int) -> tuple[str, str]:
    return f"agent-{pair % AGENTS}", f"user-{pair // AGENTS}"
