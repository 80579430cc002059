"""Latency and recall of searches among a million memories.

    make bench-scale ARGS="--rows 1000000 --small-agents 1000 --small-rows 100 --queries 200"
    make bench-scale ARGS="--data-dir /tmp/scale-1m …"       # keeps the database; a second run
                                                             # with it skips the load
    make bench-scale ARGS="--compare --index product,halfvec:m=24 …"

Fills its own Postgres (an agent with --rows memories, one with --medium-rows, and many small ones).
Then searches with the store's own code, one search after another, and compares the hits with those
of scoring every memory. With --compare it only measures the statement for the nearest memories,
over other indexes and a partitioned table. Prints tables at the end, and writes JSON below
results/.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from deployments.domain.errors import BadSetting, MemexError
from deployments.store.postgres.pool import Pool
from deployments.store.settings import StoreSettings
from loadtest.scale.compare import PRODUCT, Comparison, Index
from loadtest.scale.data import SCOPES, VERSION, Plan, World
from loadtest.scale.load import Loader, sizes
from loadtest.scale.measure import FILTERS, RANKINGS, Measurement, cases
from loadtest.scale.report import Report
from loadtest.scale.server import data_folder, postgres
from loadtest.session import RESULTS, stop_by_signal

_SHOWN = (
    "server_version", "shared_buffers", "effective_cache_size", "work_mem", "random_page_cost",
    "max_parallel_workers_per_gather", "jit", "hnsw.ef_search", "hnsw.iterative_scan",
    "hnsw.max_scan_tuples", "hnsw.scan_mem_multiplier",
)  # fmt: skip
_STATEMENT_TIMEOUT_S = 300.0  # long, so that slow searches are measured


async def _run(arguments: argparse.Namespace, dsn: str, root: Path) -> Report:
    build = {
        "maintenance_work_mem": arguments.maintenance_work_mem,
        "max_parallel_maintenance_workers": str(arguments.maintenance_workers),
    }
    plan = Plan(
        arguments.rows,
        arguments.medium_rows,
        arguments.small_agents,
        arguments.small_rows,
        arguments.seed,
        datetime.now(UTC),
    )
    loader = Loader(dsn, root, plan, build)
    if loader.state.version != VERSION:
        raise BadSetting(f"{root} has data of another version; delete it")
    if loader.state.plan != plan and loader.state.loaded:
        _log(f"{root} is already filled; measuring its data")
    await loader.run()
    state = loader.state
    settings = StoreSettings(max_pool_size=1, statement_timeout_s=_STATEMENT_TIMEOUT_S)
    report = Report(state, await _settings(dsn, settings), build, await sizes(dsn))
    if arguments.load_only:
        return report
    world = await asyncio.to_thread(World, state.plan)
    chosen = cases(state.plan, arguments.filters, arguments.rankings)
    chosen = [case for case in chosen if case.scope in arguments.scopes]
    if arguments.compare:
        comparison = Comparison(dsn, world, build)
        scopes = list(dict.fromkeys(case.scope for case in chosen))
        report.compared = await comparison.run(
            scopes,
            arguments.queries,
            arguments.index,
            arguments.ef_search,
            arguments.partitions,
        )
        report.compared_index_s = comparison.index_s
        report.compared_index_bytes = comparison.index_bytes
        return report
    measurement = Measurement(dsn, root, world, state.generation, settings)
    recalled = min(arguments.recall_queries, arguments.queries)
    report.measured = await measurement.run(chosen, arguments.queries, recalled, arguments.case_s)
    return report


async def _settings(dsn: str, settings: StoreSettings) -> dict[str, str]:
    pool = Pool(dsn, settings)
    try:
        async with pool.acquire() as connection:
            # pgvector defines its settings at its first use in a session.
            await connection.fetchval("select '[1]'::vector")
            return {
                name: await connection.fetchval("select current_setting($1, true)", name) or "-"
                for name in _SHOWN
            }
    finally:
        await pool.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--rows", type=_count, default=1_000_000, help="memories of the large agent (1000000)")
    add("--medium-rows", type=_count, default=0, help="memories of another agent (0: none)")
    add("--small-agents", type=_count, default=1_000, help="number of small agents (1000)")
    add("--small-rows", type=_count, default=100, help="memories of each small agent (100)")
    add("--seed", type=_count, default=1)
    add("--queries", type=_count, default=200, help="searches of each case (200)")
    add("--recall-queries", type=_count, default=30, help="how many of these for recall (30)")
    add("--case-s", type=float, default=20, help="time limit for a case's searches (20)")
    chosen = (("scopes", SCOPES), ("rankings", tuple(RANKINGS)), ("filters", FILTERS))
    for option, known in chosen:
        add(
            f"--{option}",
            type=_list,
            default=list(known),
            help=f"names, out of: {', '.join(known)}".replace("%", "%%"),
        )
    add("--data-dir", type=Path, help="keep the database there; if it is filled, measure it")
    add("--load-only", action="store_true")
    add("--shared-buffers", default="4GB", help="Postgres's setting (4GB)")
    add("--maintenance-work-mem", default="6GB", help="to build indexes (6GB)")
    add("--maintenance-workers", type=_count, default=2, help="to build indexes (2)")
    add("--compare", action="store_true", help="measure only vector indexes")
    add(
        "--index",
        type=_indexes,
        default=_indexes(PRODUCT),
        help="such as: product,vector,halfvec:m=24:ef_construction=128 (product)",
    )
    add(
        "--ef-search",
        type=_counts,
        default=[40, 100, 200, 400, 1_000],
        help="HNSW's hnsw.ef_search (40,100,200,400,1000)",
    )
    add(
        "--partitions",
        type=_counts,
        default=[],
        help="numbers of hash partitions by agent, such as 8,16",
    )
    add("--out", type=Path, help="file for the JSON (default: below results/)")
    arguments = parser.parse_args()
    for option, known in chosen:
        if unknown := set(getattr(arguments, option)) - set(known):
            parser.error(f"--{option}: unknown {', '.join(sorted(unknown))}")
    if arguments.partitions and not any(index.is_built for index in arguments.index):
        parser.error("--partitions: needs an --index that is built, such as halfvec")
    if not arguments.queries or not arguments.rows:
        parser.error("--rows and --queries must be 1 or more")
    return arguments


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError(text)
    return value


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _indexes(text: str) -> list[Index]:
    try:
        return [Index.parse(part) for part in _list(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"unknown {error}") from None


def _counts(text: str) -> list[int]:
    return [_count(part) for part in _list(text)]


def main() -> int:
    arguments = _arguments()
    stop_by_signal()
    options = {
        "shared_buffers": arguments.shared_buffers,
        "max_wal_size": "16GB",
        "checkpoint_timeout": "30min",
        "max_parallel_maintenance_workers": str(arguments.maintenance_workers),
    }
    try:
        with data_folder(arguments.data_dir) as root, postgres(root, options) as dsn:
            report = asyncio.run(_run(arguments, dsn, root))
    except MemexError as error:
        _log(str(error))
        return 1
    except KeyboardInterrupt:
        _log("stopped")
        return 130
    print(*report.lines(), sep="\n")
    path = arguments.out or RESULTS / f"scale-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    report.write(path)
    print(f"\nwritten to {path}")
    return 0


def _log(text: str) -> None:
    print(f"bench-scale: {text}", file=sys.stderr, flush=True)
