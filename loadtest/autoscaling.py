"""Counts embedder replicas and failed requests while a heavy load is followed by a light one.

    .venv/bin/python -m loadtest.autoscaling [--busy-s 60] [--quiet-s 120]

Replicas go from one to the profile's maximum and back. Starts a service of its own and sends it the
mix of loadtest.bench: from 64 clients while it is busy, then from one.
"""

import argparse
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployments.domain.errors import MemexError
from loadtest import programs, wrk
from loadtest.processes import count
from loadtest.scenarios import Scenario
from loadtest.seed import seed
from loadtest.session import RESULTS, Progress, scratch, stop_by_signal
from loadtest.wrk import Measured

_SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One load: its clients' answers, and the number of embedders in each second."""

    clients: int
    measured: Measured
    embedders: list[int]


class ServiceUnderLoad:
    """Runs loads one after another on one service."""

    def __init__(self, url: str, pid: int, folder: Path, progress: Progress) -> None:
        self._url = url
        self._pid = pid
        self._folder = folder
        self._progress = progress
        self._numbers = itertools.count(1)

    def run(self, clients: int, duration_s: int) -> Phase:
        scenario = Scenario(f"clients-{clients}", "mix", clients)
        result = self._folder / f"{scenario.name}.json"
        embedders: list[int] = []
        with wrk.running(self._url, scenario, next(self._numbers), duration_s, result) as process:
            while process.poll() is None:
                embedders.append(count([self._pid], "embedder"))
                if embedders[-1:] != embedders[-2:-1]:
                    self._progress.log(f"{clients} clients: {embedders[-1]} embedders")
                time.sleep(_SAMPLE_S)
        return Phase(clients, wrk.parse(json.loads(result.read_text()), scenario), embedders)


def timeline(embedders: list[int]) -> str:
    """`1 (0 s) > 2 (14 s)`: each number of replicas, and when it was first counted."""
    seconds = 0.0
    parts = []
    for replicas, group in itertools.groupby(embedders):
        parts.append(f"{replicas} ({seconds:.0f} s)")
        seconds += _SAMPLE_S * len(list(group))
    return " > ".join(parts)


def _lines(phases: list[Phase]) -> list[str]:
    return [
        f"{phase.clients:>3} clients for {phase.measured.duration_s:.0f} s: embedders "
        f"{timeline(phase.embedders)}; {phase.measured.answered} answered, "
        f"{phase.measured.refused} refused, {phase.measured.errors} failed"
        for phase in phases
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--busy-s", type=int, default=60)
    parser.add_argument("--quiet-s", type=int, default=120)
    arguments = parser.parse_args()
    stop_by_signal()
    progress = Progress("autoscaling")
    try:
        wrk.check_installed()
        with scratch() as root, programs.service(root / "memex", {}) as (url, pid):
            seed(url)
            service = ServiceUnderLoad(url, pid, root, progress)
            phases = [service.run(64, arguments.busy_s), service.run(1, arguments.quiet_s)]
    except MemexError as error:
        print(f"autoscaling: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("autoscaling: stopped", file=sys.stderr)
        return 130
    print(*_lines(phases), sep="\n")
    path = RESULTS / f"autoscaling-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(phase) for phase in phases], indent=1) + "\n")
    print(f"\nwritten to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
