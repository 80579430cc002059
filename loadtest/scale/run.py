"""Searches among a million memories: how long they take, and what they miss.

    make bench-scale ARGS="--rows 1000000 --small-agents 1000 --small-rows 100 --queries 200"
    make bench-scale ARGS="--data-dir /tmp/scale-1m …"       # keeps the database; the second run
                                                             # with it skips the load
    make bench-scale ARGS="--compare --index product,halfvec:m=24 …"

Fills a Postgres of its own (one agent with --rows memories, one with --medium-rows, and many small
ones), then asks the store's own code, one search after another, and compares with what scoring
every memory finds. With --compare it measures the statement for the nearest alone, over other
indexes and a partitioned table, and nothing else. Tables come last, and JSON below results/.
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
_STATEMENT_TIMEOUT_S = 300.0  # slow searches are to be measured, not refused


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
        raise BadSetting(f"{root} was filled with other data, by an older version: it is of no use")
    if loader.state.plan != plan and loader.state.loaded:
        _say(f"{root} is filled: what it holds is measured")
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
            await connection.fetchval(
                "select '[1]'::vector"
            )  # its settings come with its first use
            return {
                name: await connection.fetchval("select current_setting($1, true)", name) or "-"
                for name in _SHOWN
            }
    finally:
        await pool.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--rows", type=_count, default=1_000_000, help="of the large agent (1000000)")
    add("--medium-rows", type=_count, default=0, help="of another agent (0: there is none)")
    add("--small-agents", type=_count, default=1_000, help="how many (1000)")
    add("--small-rows", type=_count, default=100, help="of each of them (100)")
    add("--seed", type=_count, default=1)
    add("--queries", type=_count, default=200, help="of each case (200)")
    add("--recall-queries", type=_count, default=30, help="of those, for recall (30)")
    add("--case-s", type=float, default=20, help="the most a case's searches are timed for (20)")
    chosen = (("scopes", SCOPES), ("rankings", tuple(RANKINGS)), ("filters", FILTERS))
    for option, known in chosen:
        add(
            f"--{option}",
            type=_list,
            default=list(known),
            help=f"of: {', '.join(known)}".replace("%", "%%"),
        )
    add("--data-dir", type=Path, help="keeps the database there; where it is full, measures it")
    add("--load-only", action="store_true")
    add("--shared-buffers", default="4GB", help="of Postgres (4GB)")
    add("--maintenance-work-mem", default="6GB", help="of building indexes (6GB)")
    add("--maintenance-workers", type=_count, default=2, help="of building indexes (2)")
    add("--compare", action="store_true", help="measure indexes of vectors instead")
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
        help="of HNSW (40,100,200,400,1000)",
    )
    add("--partitions", type=_counts, default=[], help="hash partitions by agent, such as 8,16")
    add("--out", type=Path, help="where the JSON goes (default: results/)")
    arguments = parser.parse_args()
    for option, known in chosen:
        if unknown := set(getattr(arguments, option)) - set(known):
            parser.error(f"--{option}: there is no {', '.join(sorted(unknown))}")
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
        raise argparse.ArgumentTypeError(f"there is no {error}") from None


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
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    print(*report.lines(), sep="\n")
    path = arguments.out or RESULTS / f"scale-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    report.write(path)
    print(f"\nwritten to {path}")
    return 0


def _say(text: str) -> None:
    print(f"bench-scale: {text}", file=sys.stderr, flush=True)
