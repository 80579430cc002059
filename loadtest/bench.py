"""What the service does under load, beside the program that people would write instead of it.

    .venv/bin/python -m loadtest.bench [--duration-s 8] [--rows distinct-64,…] [--variants default]

README.md here says what is measured. All of it runs on this machine, on loopback, one thing at a
time; the table comes last, and JSON below results/.
"""

import argparse
import contextlib
import itertools
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil

from deployments.domain.errors import MemexError
from loadtest import ceilings, programs, report, wrk
from loadtest.database import Database, database
from loadtest.processes import Watch, count, memory_mib
from loadtest.report import Results, Row
from loadtest.scenarios import (
    BASELINE_WORKERS,
    COUNTING_SCENARIO,
    SCENARIOS,
    VARIANTS,
    Scenario,
    Variant,
)
from loadtest.seed import seed

_RESULTS = Path(__file__).with_name("results")
_WARM_UP = Scenario("warm-up", "mix", 64)
_WARM_UP_S = 30
_SETTLE_S = 5.0  # a replica has its name before it has its model
_BASELINE_WARM_UP_S = 2
_IDLE_S = 3.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Bench:
    """One run. `rows` and `variants` are what was chosen of the tables in scenarios.py."""

    def __init__(
        self, root: Path, rows: Sequence[Scenario], variants: Sequence[Variant], duration_s: int
    ) -> None:
        self._root = root
        self._rows = rows
        self._variants = variants
        self._measurements = itertools.count(1)  # texts of number 0 are the seeded ones
        self._started = time.monotonic()
        self.results = Results(duration_s)

    def run(self) -> None:
        self._say(f"this takes about {math.ceil(self._expected_s() / 60)} minutes")
        with database(self._root / "postgres") as server:
            self._say("the encoder and the search statement alone")
            self.results.ceilings = ceilings.measure(
                server.dsn, server.models_dir, max(1, self.results.duration_s // 2)
            )
            self._measure_baseline(server)
        for variant in self._variants:
            self._measure_service(variant)

    def _expected_s(self) -> float:
        of_baseline = sum(scenario.of_baseline for scenario in self._rows)
        rows = len(BASELINE_WORKERS) * of_baseline + len(self._variants) * len(self._rows)
        starts_s = 25 + 14 * (len(BASELINE_WORKERS) + 1) + 60 * len(self._variants)
        return starts_s + (rows + 2) * (self.results.duration_s + 0.5)

    def _measure_baseline(self, server: Database) -> None:
        rows = [scenario for scenario in self._rows if scenario.of_baseline]
        for workers in BASELINE_WORKERS if rows else ():
            self._measure_workers(server, workers, rows)
        best = self.results.best_baseline(COUNTING_SCENARIO)
        if best is not None:
            workers = int(best.system.rpartition("x")[2])
            self._measure_workers(server, workers, [best.scenario], counts_calls=True)

    def _measure_workers(
        self, server: Database, workers: int, rows: Sequence[Scenario], counts_calls: bool = False
    ) -> None:
        name = f"baseline x{workers}" + (" counts" if counts_calls else "")
        self._say(f"{name}: starting")
        dsn = server.fresh("baseline")
        log = self._root / "baseline.log"
        with programs.baseline(workers, dsn, server.models_dir, log, counts_calls) as (url, pid):
            roots = [pid, server.pid]
            self._idle(name, roots)
            seed(url)
            server.analyze(dsn)
            wrk.measure(url, _WARM_UP, next(self._measurements), _BASELINE_WARM_UP_S)
            for scenario in rows:
                self._measure(name, url, roots, "baseline", scenario)

    def _measure_service(self, variant: Variant) -> None:
        name = f"memex {variant.name}"
        self._say(f"{name}: starting")
        with programs.service(self._root / f"memex-{variant.name}", variant.env) as (url, pid):
            self._idle(name, [pid])
            seed(url)
            self._warm_up(name, url, pid)
            for scenario in self._rows:
                self._measure(name, url, [pid], "ray", scenario)

    def _idle(self, name: str, roots: Sequence[int]) -> None:
        time.sleep(_IDLE_S)
        self.results.idle_mib[name] = memory_mib(roots)

    def _warm_up(self, name: str, url: str, pid: int) -> None:
        """Until there is another embedder, or for 30 s: scaling takes its time, and is not what
        the rows are to show."""
        before = count([pid], "embedder")
        self._say(f"{name}: warming up, up to {_WARM_UP_S} s")
        started = time.monotonic()
        nowhere = self._root / "warm-up.json"
        with wrk.running(url, _WARM_UP, next(self._measurements), _WARM_UP_S, nowhere) as load:
            while load.poll() is None and count([pid], "embedder") <= before:
                time.sleep(0.5)
            if load.poll() is None:
                time.sleep(_SETTLE_S)
        took = time.monotonic() - started
        said = f"embedders after {took:.0f} s of warm-up: {count([pid], 'embedder')}"
        self.results.warm_up[name] = said
        self._say(f"{name}: {said}")

    def _measure(
        self, name: str, url: str, roots: Sequence[int], other: str, scenario: Scenario
    ) -> None:
        self._say(f"{name}: {scenario.name}, {self.results.duration_s} s")
        before = _own_cpu_s()
        with Watch(roots, other) as watch:
            measured = wrk.measure(url, scenario, next(self._measurements), self.results.duration_s)
        cpu_s = watch.cpu_s() | {"generator": _own_cpu_s() - before}
        row = Row(name, scenario, measured, cpu_s, watch.peak_mib, watch.embedders)
        self.results.rows.append(row)

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._started
        print(f"bench: {elapsed:4.0f} s  {text}", file=sys.stderr, flush=True)


def _own_cpu_s() -> float:
    """Of wrk, which has ended, and of this process, which samples the others."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = psutil.Process().cpu_times()
    return float(children.ru_utime + children.ru_stime + own.user + own.system)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="mb-"))  # short: sockets lie below it
    if os.geteuid() == 0:
        root.chmod(0o711)  # Postgres runs as a user of its own then, who must pass through
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.split("\n")[0])
    parser.add_argument("--duration-s", type=int, default=8, help="of each row (default: 8)")
    rows = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--rows", default=rows, help=f"of {rows}")
    variants = ",".join(variant.name for variant in VARIANTS)
    parser.add_argument("--variants", default=variants, help=f"of {variants}")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: results/)")
    arguments = parser.parse_args()
    if arguments.duration_s < 1:
        parser.error("--duration-s must be 1 or more")
    for option, known in (("rows", SCENARIOS), ("variants", VARIANTS)):
        wanted = [name.strip() for name in getattr(arguments, option).split(",") if name.strip()]
        if unknown := set(wanted) - {entry.name for entry in known}:
            parser.error(f"--{option}: there is no {', '.join(sorted(unknown))}")
        setattr(arguments, option, [entry for entry in known if entry.name in wanted])
    return arguments


def main() -> int:
    arguments = _arguments()
    for number in _STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        wrk.check_installed()
        with _scratch() as root:
            bench = Bench(root, arguments.rows, arguments.variants, arguments.duration_s)
            bench.run()
    except MemexError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    print(*report.table(bench.results.rows), "", *report.summary(bench.results), sep="\n")
    now = datetime.now(UTC)
    path = arguments.out or _RESULTS / f"bench-{now:%Y%m%d-%H%M%S}.json"
    report.write(bench.results, path)
    print(f"\nwritten to {path}")
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # one is enough: what runs is being stopped
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
