"""Compares the service under load with the program that people would write instead.

    .venv/bin/python -m loadtest.bench [--duration-s 7] [--turns 1] [--rows distinct-64,…]
        [--variants default]

loadtest/README.md explains the measurements. They run one after another on this machine, over
loopback. Prints the table at the end, and writes JSON below results/.
"""

import argparse
import contextlib
import itertools
import math
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deployments.domain.errors import MemexError
from loadtest import programs, wrk
from loadtest.bench import ceilings, report
from loadtest.bench.database import Database, database
from loadtest.bench.report import Results, Row, typical
from loadtest.bench.yardstick import Yardstick, yardstick
from loadtest.processes import Watch, count, memory_mib
from loadtest.scenarios import (
    BASELINE_WORKERS,
    CHOOSING_SCENARIO,
    SCENARIOS,
    VARIANTS,
    Scenario,
    Variant,
)
from loadtest.seed import seed
from loadtest.session import RESULTS, Progress, own_cpu_s, scratch, stop_by_signal

_WARM_UP = Scenario("warm-up", "mix", 64)
_WARM_UP_S = 30
_SETTLE_S = 5.0  # a replica has its name before it has loaded its model
_BASELINE_WARM_UP_S = 2
_IDLE_S = 3.0
_SPEED_VALID_S = 1.0


class Bench:
    """One run, of the chosen `rows` and `variants` of scenarios.py."""

    def __init__(
        self,
        root: Path,
        rows: Sequence[Scenario],
        variants: Sequence[Variant],
        duration_s: int,
        turns: int,
    ) -> None:
        self._root = root
        self._rows = rows
        self._variants = variants
        self._turns = turns
        self._measurements = itertools.count(1)  # number 0 is for the seeded texts
        self._progress = Progress("bench")
        self._yardstick: Yardstick
        self._speed_measured_at = -math.inf
        self.results = Results(duration_s)

    def run(self) -> None:
        self._progress.log(f"this takes about {math.ceil(self._expected_s() / 60)} minutes")
        with contextlib.ExitStack() as stack:
            with database(self._root / "postgres") as server:
                self._progress.log("the search statement alone")
                self.results.searches_alone_per_s = ceilings.searches_per_s(
                    server.dsn, server.models_dir, max(1, self.results.duration_s // 2)
                )
                self._yardstick = stack.enter_context(yardstick(server.models_dir))
                self._measure_baseline(server)
            for variant in self._variants:
                self._measure_service(variant)

    def _expected_s(self) -> float:
        of_baseline = sum(scenario.of_baseline for scenario in self._rows)
        baselines = len(BASELINE_WORKERS) + 2 if of_baseline else 0
        of_service = sum(len(self._rows_of(variant)) for variant in self._variants)
        rows = len(BASELINE_WORKERS) + 2 * of_baseline + of_service
        starts_s = 25 + 14 * baselines + 60 * len(self._variants)
        return starts_s + (rows * self._turns + 2) * (self.results.duration_s + 1.5)

    def _rows_of(self, variant: Variant) -> list[Scenario]:
        return [row for row in self._rows if row.of_variants or not variant.env]

    def _measure_baseline(self, server: Database) -> None:
        rows = [scenario for scenario in self._rows if scenario.of_baseline]
        if not rows:
            return
        choosing = [scenario for scenario in SCENARIOS if scenario.name == CHOOSING_SCENARIO]
        for workers in BASELINE_WORKERS:
            self._measure_workers(server, "baseline", workers, choosing)
        best = self.results.best("baseline", CHOOSING_SCENARIO)
        assert best is not None
        workers = int(best.system.rpartition("x")[2])
        remaining = [scenario for scenario in rows if scenario not in choosing]
        if remaining:
            self._measure_workers(server, "baseline", workers, remaining)
        self._measure_workers(server, "lean baseline", workers, rows)

    def _measure_workers(
        self, server: Database, kind: str, workers: int, rows: Sequence[Scenario]
    ) -> None:
        name = f"{kind} x{workers}"
        self._progress.log(f"{name}: starting")
        dsn = server.fresh("baseline")
        log = self._root / "baseline.log"
        is_lean = kind.startswith("lean")
        with programs.baseline(workers, dsn, server.models_dir, log, is_lean) as (url, pid):
            roots = [pid, server.pid]
            self._idle(name, roots)
            seed(url)
            server.analyze(dsn)
            wrk.measure(url, _WARM_UP, next(self._measurements), _BASELINE_WARM_UP_S)
            self._measure_by_turns(name, url, roots, "baseline", rows)

    def _measure_service(self, variant: Variant) -> None:
        name = f"memex {variant.name}"
        self._progress.log(f"{name}: starting")
        with programs.service(self._root / f"memex-{variant.name}", variant.env) as (url, pid):
            self._idle(name, [pid])
            seed(url)
            self._warm_up(name, url, pid)
            self._measure_by_turns(name, url, [pid], "ray", self._rows_of(variant))

    def _idle(self, name: str, roots: Sequence[int]) -> None:
        time.sleep(_IDLE_S)
        self.results.idle_mib[name] = memory_mib(roots)

    def _warm_up(self, name: str, url: str, pid: int) -> None:
        """Run a load until there is another embedder, at most 30 s, because the rows should not
        measure the scaling."""
        before = count([pid], "embedder")
        self._progress.log(f"{name}: warming up, up to {_WARM_UP_S} s")
        started = time.monotonic()
        result = self._root / "warm-up.json"
        with wrk.running(url, _WARM_UP, next(self._measurements), _WARM_UP_S, result) as load:
            while load.poll() is None and count([pid], "embedder") <= before:
                time.sleep(0.5)
            if load.poll() is None:
                time.sleep(_SETTLE_S)
        elapsed_s = time.monotonic() - started
        message = f"embedders after {elapsed_s:.0f} s of warm-up: {count([pid], 'embedder')}"
        self.results.warm_up[name] = message
        self._progress.log(f"{name}: {message}")

    def _measure_by_turns(
        self, name: str, url: str, roots: Sequence[int], other: str, rows: Sequence[Scenario]
    ) -> None:
        measured = [
            self._measure(name, url, roots, other, scenario)
            for _ in range(self._turns)
            for scenario in rows
        ]
        for number in range(len(rows)):
            self.results.rows.append(typical(measured[number :: len(rows)]))

    def _measure(
        self, name: str, url: str, roots: Sequence[int], other: str, scenario: Scenario
    ) -> Row:
        self._progress.log(f"{name}: {scenario.name}, {self.results.duration_s} s")
        alone_before = self._alone_per_s()
        before = own_cpu_s()
        with Watch(roots, other) as watch:
            measured = wrk.measure(url, scenario, next(self._measurements), self.results.duration_s)
        cpu_s = watch.cpu_s() | {"generator": own_cpu_s() - before}
        alone = (alone_before + self._alone_per_s()) / 2
        return Row(name, scenario, measured, cpu_s, watch.peak_mib, watch.embedders, alone)

    def _alone_per_s(self) -> float:
        """Texts/s of the encoder now. The measurement after a row also serves the next one."""
        if time.monotonic() - self._speed_measured_at > _SPEED_VALID_S:
            self.results.alone_per_s.append(self._yardstick.texts_per_s())
            self._speed_measured_at = time.monotonic()
        return self.results.alone_per_s[-1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--duration-s", type=int, default=7, help="seconds for each row (default: 7)"
    )
    parser.add_argument("--turns", type=int, default=1, help="turns of each row (default: 1)")
    rows = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--rows", default=rows, help=f"names, out of {rows}")
    variants = ",".join(variant.name for variant in VARIANTS)
    parser.add_argument("--variants", default=variants, help=f"names, out of {variants}")
    parser.add_argument("--out", type=Path, help="file for the JSON (default: below results/)")
    arguments = parser.parse_args()
    if arguments.duration_s < 1:
        parser.error("--duration-s must be 1 or more")
    if arguments.turns < 1:
        parser.error("--turns must be 1 or more")
    for option, known in (("rows", SCENARIOS), ("variants", VARIANTS)):
        chosen = [name.strip() for name in getattr(arguments, option).split(",") if name.strip()]
        if unknown := set(chosen) - {entry.name for entry in known}:
            parser.error(f"--{option}: unknown {', '.join(sorted(unknown))}")
        setattr(arguments, option, [entry for entry in known if entry.name in chosen])
    return arguments


def main() -> int:
    arguments = _arguments()
    stop_by_signal()
    try:
        wrk.check_installed()
        with scratch() as root:
            bench = Bench(
                root, arguments.rows, arguments.variants, arguments.duration_s, arguments.turns
            )
            bench.run()
    except MemexError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    print(*report.table(bench.results.rows), "", *report.summary(bench.results), sep="\n")
    now = datetime.now(UTC)
    path = arguments.out or RESULTS / f"bench-{now:%Y%m%d-%H%M%S}.json"
    report.write(bench.results, path)
    print(f"\nwritten to {path}")
    return 0
