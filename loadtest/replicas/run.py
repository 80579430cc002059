"""Requests/s by the number of embedder replicas, with a sleep in place of the model.

    make bench-replicas                                               # needs wrk
    make bench-replicas ARGS="--replicas 1,4,16 --stand-in-ms 60 --duration-s 15"

A replica that sleeps takes a text's time but no core. So a machine with few cores has room for many
replicas, and everything else is measured: HAProxy, the ingress and its edges, routing, the store,
Postgres. The load is searches, without a cache and with no text twice; each text is a separate
call, so that each request is routed. A text costs as much as the model's on one core, where the
machine's cores soon end the scaling, or so much that two cores can route for 16 replicas.

All runs use the same memories, those with most replicas first. Prints the table at the end, and
writes JSON below results/.
"""

import argparse
import copy
import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.domain.errors import MemexError
from loadtest import programs, wrk
from loadtest.processes import Watch, count
from loadtest.replicas.report import as_json, summary, table
from loadtest.replicas.rows import Row, connections
from loadtest.scenarios import Scenario
from loadtest.seed import seed
from loadtest.session import RESULTS, Progress, own_cpu_s, scratch, stop_by_signal
from serve_app.settings import ROOT

_REPLICAS = (1, 2, 4, 8, 16)
_COSTS_MS = (2.0, 60.0)
_REPLICA_CPUS = 0.05  # only for Ray's scheduling: 16 and all else must fit on two cores
_WARM_UP_S = 3
_SETTLE_S = 3.0
_UNIFORM_KINDS = ("embedder", "store", "ingress", "haproxy", "postgres")


class Bench:
    """One run: each number of replicas with each cost of a text."""

    def __init__(self, replicas: Sequence[int], costs_ms: Sequence[float], duration_s: int) -> None:
        self._replicas = sorted(replicas, reverse=True)  # the first one embeds the first memories
        self._costs_ms = sorted(costs_ms)
        self._duration_s = duration_s
        self._measurements = itertools.count(1)  # number 0 is for the seeded texts
        self._is_seeded = False
        self._progress = Progress("replicas")
        self.rows: list[Row] = []

    def run(self, root: Path) -> None:
        runs = list(itertools.product(self._costs_ms, self._replicas))
        each_s = 35 + _WARM_UP_S + self._duration_s
        self._progress.log(f"this takes about {-(-len(runs) * each_s // 60)} minutes")
        for cost_ms, replicas in runs:
            self._progress.log(f"{cost_ms:g} ms a text, {replicas} replicas: starting")
            self.rows.append(self._measure(root, cost_ms, replicas))

    def _measure(self, root: Path, cost_ms: float, replicas: int) -> Row:
        profile = root / f"{replicas}-replicas.yaml"
        profile.write_text(yaml.safe_dump(profile_of(replicas)))
        env = environment(cost_ms, replicas, profile)
        load = Scenario(f"searches-{replicas}", "searches", connections(replicas))
        with programs.service(root / "memex", env) as (url, pid):
            if not self._is_seeded:
                self._progress.log("storing the first memories")
                seed(url)
                self._is_seeded = True
            time.sleep(_SETTLE_S)
            wrk.measure(url, load, next(self._measurements), _WARM_UP_S)
            self._progress.log(f"{cost_ms:g} ms a text, {replicas} replicas: measuring")
            before, machine_before = own_cpu_s(), _machine_cpu_s()
            with Watch([pid], "ray") as watch:
                measured = wrk.measure(url, load, next(self._measurements), self._duration_s)
            cpu_s = watch.cpu_s() | {"generator": own_cpu_s() - before}
            machine_cores = (_machine_cpu_s() - machine_before) / measured.duration_s
            processes = {kind: max(1, count([pid], kind)) for kind in _UNIFORM_KINDS}
        return Row(cost_ms, replicas, measured, cpu_s, processes, machine_cores)


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def profile_of(replicas: int) -> dict[str, Any]:
    """The laptop profile with this number of embedder replicas."""
    laptop = yaml.safe_load((ROOT / "configs" / "laptop.yaml").read_text(encoding="utf-8"))
    profile: dict[str, Any] = copy.deepcopy(laptop)
    embedder = profile["deployments"]["Embedder"]
    embedder.pop("autoscaling_config", None)
    embedder["num_replicas"] = replicas
    embedder["ray_actor_options"] = {"num_cpus": _REPLICA_CPUS}
    return profile


def environment(cost_ms: float, replicas: int, profile: Path) -> dict[str, str]:
    return {
        "MEMEX_PROFILE": str(profile),
        "MEMEX_EMBEDDING_STAND_IN_MS": str(cost_ms),
        "MEMEX_EDGE_CALLS_IN_FLIGHT": str(connections(replicas)),
        "MEMEX_EDGE_MAX_BATCH": "1",
        "MEMEX_EDGE_CACHE_MIB": "0",
    }


def _numbers(text: str) -> list[float]:
    return sorted({float(part) for part in text.split(",") if part.strip()})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-replicas", description=__doc__.split("\n")[0])
    for option, default, text in (
        ("--replicas", _REPLICAS, "numbers of replicas"),
        ("--stand-in-ms", _COSTS_MS, "ms that a text costs a replica"),
    ):
        numbers = ",".join(f"{number:g}" for number in default)
        parser.add_argument(
            option, type=_numbers, default=list(default), help=f"{text} (default: {numbers})"
        )
    parser.add_argument(
        "--duration-s", type=int, default=8, help="seconds for each row (default: 8)"
    )
    parser.add_argument("--out", type=Path, help="file for the JSON (default: below results/)")
    arguments = parser.parse_args()
    if not arguments.replicas or any(n < 1 or n != int(n) for n in arguments.replicas):
        parser.error("--replicas must be whole numbers of 1 or more")
    if not arguments.stand_in_ms or min(arguments.stand_in_ms) <= 0:
        parser.error("--stand-in-ms must be more than 0")
    if arguments.duration_s < 1:
        parser.error("--duration-s must be 1 or more")
    return arguments


def main() -> int:
    arguments = _arguments()
    stop_by_signal()
    replicas = [int(number) for number in arguments.replicas]
    bench = Bench(replicas, arguments.stand_in_ms, arguments.duration_s)
    exit_code = 0
    try:
        wrk.check_installed()
        with scratch() as root:
            bench.run(root)
    except MemexError as error:
        print(f"replicas: {error}", file=sys.stderr)
        exit_code = 1
    except KeyboardInterrupt:
        print("replicas: stopped", file=sys.stderr)
        exit_code = 130
    if bench.rows:  # after an error or Ctrl-C, the rows until then
        _report(bench.rows, arguments)
    return exit_code


def _report(unordered: Sequence[Row], arguments: argparse.Namespace) -> None:
    rows = sorted(unordered, key=lambda row: (row.cost_ms, row.replicas))
    cores = len(os.sched_getaffinity(0))
    print(*table(rows), "", *summary(rows, cores), sep="\n")
    path = arguments.out or RESULTS / f"replicas-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(rows, cores, arguments.duration_s), indent=1) + "\n")
    print(f"\nwritten to {path}")
