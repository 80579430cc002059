"""Times of searches in Postgres, by size of the scope and by mode, on a database of its own.

    .venv/bin/python -m loadtest.costs.search_statement [rows …]

Memories have about 20 terms, out of 20,000 words with natural frequencies (Zipf); queries have 8.
There is one connection; the modes take turns, so that noise affects all of them equally. `copies
kept` is `hybrid` with a diversity of 0. Prints median and 99th percentile in ms, and the ratio of
each median to that of semantic mode.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deployments.domain.embeddings import Embeddings, ModelIdentity
from deployments.domain.memories import NewMemory
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.migrate import migrate, read_migrations
from deployments.store.postgres.pool import Pool, connect
from deployments.store.settings import StoreSettings
from deployments.store.store import PostgresStore, build_store
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres

_ROUNDS = 200
_RANDOM = np.random.default_rng(1)
_SEARCHES: dict[str, dict[str, Any]] = {
    "semantic": {"ranking": Ranking(mode="semantic")},
    "hybrid": {},
    "copies kept": {"diversity": 0.0},
    "lexical": {"ranking": Ranking(mode="lexical")},
    "rrf": {"ranking": Ranking(fusion="rrf")},
}


def texts(count: int, words: int) -> list[str]:
    ranks = np.minimum(_RANDOM.zipf(1.3, size=(count, words)), 20_000)
    return [" ".join(f"word{rank}" for rank in row) for row in ranks]


def unit_vectors(count: int) -> Embeddings:
    vectors = _RANDOM.normal(size=(count, 384)).astype(np.float32)
    unit: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


async def fill(store: PostgresStore, rows: int, generation: int) -> float:
    """Store memories; return the seconds for each thousand."""
    now = datetime.now(UTC)
    started = time.perf_counter()
    for start in tqdm(range(0, rows, 250), f"{rows} memories", leave=False):
        count = min(250, rows - start)
        new = [
            NewMemory(
                uuid7(), "agent", str(rows), text, created_at=now - timedelta(hours=start + n)
            )
            for n, text in enumerate(texts(count, 20))
        ]
        await store.inserts.insert(new, unit_vectors(count), generation, None)
    return (time.perf_counter() - started) / rows * 1_000


async def measure(store: PostgresStore, rows: int, generation: int) -> dict[str, list[float]]:
    times_ms: dict[str, list[float]] = {name: [] for name in _SEARCHES}
    for text, vector in zip(texts(_ROUNDS, 8), unit_vectors(_ROUNDS), strict=True):
        for name, options in _SEARCHES.items():
            query = SearchQuery("agent", str(rows), text, **options)
            started = time.perf_counter()
            await store.searches.search(query, vector, generation, None)
            times_ms[name].append((time.perf_counter() - started) * 1_000)
    return times_ms


async def run(dsn: str, sizes: list[int]) -> None:
    settings = StoreSettings(max_pool_size=1, statement_timeout_s=120)
    connection = await connect(dsn, settings)
    await migrate(connection, read_migrations())
    pool = Pool(dsn, settings)
    store = build_store(pool, settings)
    generation = await store.generations.adopt_generation(ModelIdentity("random", "1", "fp32", 384))
    print(f"{'rows':>8} {'mode':>12} {'p50 ms':>8} {'p99 ms':>8} {'ratio':>6}")
    for rows in sizes:
        filling_s = await fill(store, rows, generation)
        await store.upkeep.fold_frequencies()
        await connection.execute("vacuum analyze")
        await measure(store, rows, generation)  # warms the caches
        for line in table(rows, await measure(store, rows, generation)):
            print(line)
        print(f"{'':>8} stored at {1 / filling_s * 1_000:.0f} memories/s, 250 at a time")
    await pool.close()
    await connection.close()


def table(rows: int, times_ms: dict[str, list[float]]) -> Iterator[str]:
    base = float(np.median(times_ms["semantic"]))
    for name, times in times_ms.items():
        p50, p99 = np.percentile(times, (50, 99))
        yield f"{rows:>8} {name:>12} {p50:>8.2f} {p99:>8.2f} {p50 / base:>6.2f}"


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or [50, 1_000, 10_000, 50_000]
    with tempfile.TemporaryDirectory(prefix="memex-") as root:
        folder = DataFolder(Path(root))
        folder.open()
        server = EmbeddedPostgres(folder)
        server.start()
        try:
            asyncio.run(run(server.dsn, sizes))
        finally:
            server.stop()
            folder.close()


if __name__ == "__main__":
    main()
