"""The cost of metrics: requests/s with MEMEX_METRICS on and off, in turns.

    .venv/bin/python -m loadtest.costs.metrics [--rounds 4] [--duration-s 10] [--rows distinct-64,…]

Each turn starts its own service. The order is on-off, off-on, on-off, …, so that a machine that
becomes slower or faster meanwhile favours neither.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.domain.errors import MemexError
from loadtest import programs, wrk
from loadtest.processes import Watch
from loadtest.scenarios import SCENARIOS, Scenario
from loadtest.seed import seed
from loadtest.session import Progress, scratch, stop_by_signal

_DEFAULT_ROWS = ("distinct-64", "repeated-64", "search-16")
_WARM_UP = Scenario("warm-up", "mix", 64)
_WARM_UP_S = 30  # time for another embedder to start


@dataclass(frozen=True, slots=True)
class Turn:
    """One row, measured on one service."""

    row: str
    setting: str
    per_s: float
    cpu_ms: float
    """CPU time for each answer, of all of the service's processes, including Ray's exporter."""


def measure(
    root: Path, rows: Sequence[Scenario], rounds: int, duration_s: int, progress: Progress
) -> list[Turn]:
    turns: list[Turn] = []
    measurements = itertools.count(1)  # number 0 is for the seeded texts
    for number in range(rounds):
        for setting in ("on", "off") if number % 2 == 0 else ("off", "on"):
            progress.log(f"round {number + 1} of {rounds}, {setting}: starting")
            folder = root / f"{number}-{setting}"
            with programs.service(folder, {"MEMEX_METRICS": setting}) as (url, pid):
                seed(url)
                wrk.measure(url, _WARM_UP, next(measurements), _WARM_UP_S)
                for row in rows:
                    progress.log(f"round {number + 1} of {rounds}, {setting}: {row.name}")
                    with Watch([pid], "ray") as watch:
                        measured = wrk.measure(url, row, next(measurements), duration_s)
                    cpu_ms = 1_000 * sum(watch.cpu_s().values()) / max(1, measured.answered)
                    turns.append(Turn(row.name, setting, measured.per_s, cpu_ms))
    return turns


def table(turns: Sequence[Turn], rows: Sequence[Scenario]) -> list[str]:
    """Medians of requests/s and CPU, and how many percent of requests/s metrics cost."""
    lines = [f"{'row':<14} {'on/s':>8} {'off/s':>8} {'cost':>7} {'on ms':>7} {'off ms':>7}  rounds"]
    for row in rows:
        by_setting = {
            setting: [turn for turn in turns if (turn.row, turn.setting) == (row.name, setting)]
            for setting in ("on", "off")
        }
        on, off = (
            statistics.median(turn.per_s for turn in by_setting[name]) for name in by_setting
        )
        on_ms, off_ms = (
            statistics.median(turn.cpu_ms for turn in by_setting[name]) for name in by_setting
        )
        costs = [
            f"{1 - turn_on.per_s / turn_off.per_s:+.1%}"
            for turn_on, turn_off in zip(by_setting["on"], by_setting["off"], strict=True)
        ]
        lines.append(
            f"{row.name:<14} {on:8.1f} {off:8.1f} {1 - on / off:+7.1%} {on_ms:7.2f} {off_ms:7.2f}"
            f"  {', '.join(costs)}"
        )
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="loadtest.costs.metrics", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=4, help="of two turns (default: 4)")
    parser.add_argument(
        "--duration-s", type=int, default=10, help="seconds for each row (default: 10)"
    )
    names = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--rows", default=",".join(_DEFAULT_ROWS), help=f"names, out of {names}")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.duration_s < 1:
        parser.error("--rounds and --duration-s must be 1 or more")
    chosen = [name.strip() for name in arguments.rows.split(",") if name.strip()]
    if unknown := set(chosen) - {scenario.name for scenario in SCENARIOS}:
        parser.error(f"--rows: unknown {', '.join(sorted(unknown))}")
    arguments.rows = [scenario for scenario in SCENARIOS if scenario.name in chosen]
    return arguments


def main() -> int:
    arguments = _arguments()
    stop_by_signal()
    progress = Progress("metrics_cost")
    try:
        wrk.check_installed()
        with scratch() as root:
            turns = measure(root, arguments.rows, arguments.rounds, arguments.duration_s, progress)
    except MemexError as error:
        print(f"metrics_cost: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("metrics_cost: stopped", file=sys.stderr)
        return 130
    print(*table(turns, arguments.rows), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
