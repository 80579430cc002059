"""Formats the measurements as tables and JSON."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.scale.compare import Compared
from loadtest.scale.figures import Latency
from loadtest.scale.load import State
from loadtest.scale.measure import Measured

GOALS_MS = {"large": 60.0, "medium": 60.0, "small": 10.0}
GOAL_RECALL = 0.99
_MIB = 1 << 20


@dataclass(slots=True)
class Report:
    state: State
    settings: dict[str, str]
    """Postgres's settings in a session of the store."""
    build: dict[str, str]
    """Further settings while indexes were built."""
    sizes: dict[str, int]
    measured: Sequence[Measured] = ()
    compared: Sequence[Compared] = ()
    compared_index_s: dict[str, float] = field(default_factory=dict)
    compared_index_bytes: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        yield from self._load()
        if self.measured:
            yield from ("", *_measured(self.measured))
        if self.compared:
            yield from ("", *_compared(self.compared))
            for name, size in self.compared_index_bytes.items():
                build_s = self.compared_index_s.get(name)
                built = "" if build_s is None else f", built in {build_s:.0f} s"
                yield f"{name}: {size / _MIB:.0f} MiB{built}"

    def _load(self) -> Iterator[str]:
        state, plan = self.state, self.state.plan
        yield (
            f"{plan.rows:,} memories of one agent, {plan.medium_rows:,} of another, "
            f"{plan.small_rows:,} of each of {plan.small_agents:,}"
        )
        yield f"loaded at {state.rows_per_s:.0f} rows/s; " + ", ".join(
            f"{step} {seconds:.0f} s" for step, seconds in state.seconds.items()
        )
        yield "Postgres: " + ", ".join(f"{name} {value}" for name, value in self.settings.items())
        built = ", ".join(f"{name} {value}" for name, value in self.build.items())
        yield f"while building: {built}"
        yield ""
        yield f"{'':<34}{'MiB':>9}{'bytes/row':>11}{'built in s':>12}"
        for name, size in self.sizes.items():
            build_s = state.index_s.get(name)
            built = "" if build_s is None else f"{build_s:.0f}"
            yield f"{name:<34}{size / _MIB:>9.0f}{size / plan.total:>11.0f}{built:>12}"

    def as_json(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        fields["state"]["rows_per_s"] = self.state.rows_per_s
        return {
            "machine": {"cores": len(os.sched_getaffinity(0)), "system": platform.platform()},
            **fields,
            "lines": list(self.lines()),
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1, default=str) + "\n")


def misses(row: Measured) -> list[str]:
    """The goals that the row misses."""
    missed = []
    if row.latency.p99 > GOALS_MS[row.case.scope]:
        missed.append("p99")
    if row.recall is not None and row.recall < GOAL_RECALL:
        missed.append("recall")
    if row.too_few:
        missed.append("too few")
    return missed


def _measured(rows: Sequence[Measured]) -> Iterator[str]:
    yield (
        f"{'scope':<8}{'ranking':<10}{'filter':<12}{'n':>5}{_LATENCIES}{'cpu':>8}"
        f"{'recall@10':>11}{'worst':>7}{'of':>5}{'too few':>9}  misses"
    )
    for row in rows:
        case = row.case
        shares = "".join(
            f"{'-' if share is None else format(share, '.3f'):>{width}}"
            for share, width in ((row.recall, 11), (row.worst_recall, 7))
        )
        cpu = "-" if row.cpu_ms is None else format(row.cpu_ms, ".1f")
        yield (
            f"{case.scope:<8}{case.ranking:<10}{case.filters:<12}{row.latency.count:>5}"
            f"{_times(row.latency)}{cpu:>8}{shares}{row.recalled:>5}{row.too_few:>9}  "
            + ", ".join(misses(row))
        ).rstrip()


def _compared(rows: Sequence[Compared]) -> Iterator[str]:
    yield (
        f"{'table':<10}{'index':<34}{'scope':<8}{'ef':>5}{_LATENCIES}"
        f"{'recall@10':>11}{'rows':>6}  plan of the first"
    )
    for row in rows:
        share = "-" if row.recall is None else f"{row.recall:.3f}"
        yield (
            f"{row.table:<10}{row.index:<34}{row.scope:<8}{row.ef_search:>5}"
            f"{_times(row.latency)}{share:>11}{row.fewest_rows:>6}  {row.plan}"
        )


_LATENCIES = f"{'p50 ms':>9}{'p95':>9}{'p99':>9}{'max':>9}"


def _times(latency: Latency) -> str:
    times = (latency.p50, latency.p95, latency.p99, latency.longest)
    return "".join(f"{value:>9.1f}" for value in times)
