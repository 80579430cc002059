"""Formats the measurements as one table, the ratios below it, and JSON."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.processes import KINDS
from loadtest.scenarios import OVER_MCP, Scenario
from loadtest.wrk import Measured, Times

BASELINES = ("baseline", "lean baseline")


@dataclass(frozen=True, slots=True)
class Row:
    system: str
    scenario: Scenario
    measured: Measured
    cpu_s: dict[str, float]
    """By kind of process."""
    peak_mib: float
    embedders: list[int]
    """Replicas, each second."""
    alone_per_s: float
    """Texts/s of the encoder alone on all cores, just before and after the row: the machine's
    speed then."""

    @property
    def share(self) -> float:
        """Requests for each text that the encoder alone could have embedded; comparable between
        rows of different minutes."""
        return self.measured.per_s / self.alone_per_s

    @property
    def texts_p50(self) -> float | None:
        """The p50 as the number of texts that the encoder alone could have embedded meanwhile."""
        times = self.measured.times
        return None if times is None else times.p50 / 1_000 * self.alone_per_s

    @property
    def texts_per_s(self) -> float:
        return self.measured.per_s * self.scenario.texts_of_request

    @property
    def cpu_per_1000(self) -> dict[str, float]:
        """CPU seconds for a thousand answered requests."""
        thousands = self.measured.answered / 1_000
        return {kind: cpu / thousands for kind, cpu in self.cpu_s.items()} if thousands else {}


def typical(turns: Sequence[Row]) -> Row:
    """The turn in the middle, by answered requests in relation to the machine's speed."""
    ordered = sorted(turns, key=lambda row: row.share)
    return ordered[(len(ordered) - 1) // 2]


@dataclass(slots=True)
class Results:
    duration_s: int
    rows: list[Row] = field(default_factory=list)
    searches_alone_per_s: float | None = None
    alone_per_s: list[float] = field(default_factory=list)
    """Each measurement of the encoder alone."""
    idle_mib: dict[str, float] = field(default_factory=dict)
    """Memory of each system before any load."""
    warm_up: dict[str, str] = field(default_factory=dict)

    def of(self, system: str, scenario: str) -> Row | None:
        return next(
            (row for row in self.rows if (row.system, row.scenario.name) == (system, scenario)),
            None,
        )

    def best(self, kind: str, scenario: str) -> Row | None:
        """The baseline of this kind that answers most, with any number of workers."""
        rows = [
            row
            for row in self.rows
            if row.system.rpartition(" x")[0] == kind and row.scenario.name == scenario
        ]
        return max(rows, key=lambda row: row.share, default=None)


def table(rows: Sequence[Row]) -> Iterator[str]:
    kinds = [kind for kind in KINDS if any(row.cpu_s.get(kind) for row in rows)]
    yield f"{'':<57}{'latency, ms':>24}{'':>23}CPU seconds for 1,000 requests"
    yield (
        f"{'system':<21}{'row':<17}{'req/s':>7}{'text/s':>7}{'alone':>7}{'p50':>8}{'p95':>8}{'p99':>8}"
        f"{'503s':>6}{'errors':>7}{'MiB':>6}{'embed.':>7} "
        + "".join(f"{kind:>10}" for kind in kinds)
    )
    for row in rows:
        measured, cpu = row.measured, row.cpu_per_1000
        yield (
            f"{row.system:<21}{row.scenario.name:<17}{measured.per_s:>7.1f}"
            f"{row.texts_per_s:>7.0f}{row.alone_per_s:>7.0f}{_cells(measured.times)}{measured.refused:>6}"
            f"{measured.errors:>7}{row.peak_mib:>6.0f}{_range(row.embedders):>7} "
            + "".join(f"{cpu[kind]:>10.2f}" if kind in cpu else f"{'':>10}" for kind in kinds)
        )


def summary(results: Results) -> Iterator[str]:
    """The ratios, for each measured variant of the service."""
    if alone := sorted(results.alone_per_s):
        yield (
            f"the encoder alone on all cores: {alone[len(alone) // 2]:.0f} texts/s at the median "
            f"of {len(alone)} measurements, {alone[0]:.0f} to {alone[-1]:.0f}"
        )
    if results.searches_alone_per_s is not None:
        yield f"the search statement alone on all cores: {results.searches_alone_per_s:.0f}/s"
    yield from (f"{system}: {text}" for system, text in results.warm_up.items())
    yield from (f"{system}: {mib:.0f} MiB when idle" for system, mib in results.idle_mib.items())
    for system in dict.fromkeys(row.system for row in results.rows):
        if system.rpartition(" x")[0] not in BASELINES:
            yield from (f"{system}: {line}" for line in _of_service(results, system))
    loads = [row.cpu_s.get("generator", 0.0) / row.measured.duration_s for row in results.rows]
    if loads:
        yield f"the load generator used at most {max(loads):.0%} of one core"


def _of_service(results: Results, system: str) -> Iterator[str]:
    for row in results.rows:
        if row.system != system:
            continue
        name, compared = row.scenario.name, comparison(results, row)
        for base in compared["baselines"]:
            line = f"{name}: {base['times_per_s']:.2f} times the requests/s of {base['system']}"
            if base["times_p50"] is not None:
                line += f", {base['times_p50']:.2f} times its p50"
            yield line
        if row.texts_per_s:
            yield f"{name}: {compared['of_encoder']:.2f} of the texts/s of the encoder alone"
    for name, over_rest in OVER_MCP.items():
        mcp, rest = results.of(system, name), results.of(system, over_rest)
        if mcp and rest and mcp.measured.times and rest.measured.times:
            difference_ms = mcp.measured.times.p50 - rest.measured.times.p50
            yield f"{name}: p50 {difference_ms:+.1f} ms against {over_rest}"
    usual = results.of(system, "distinct-64")
    for row in results.rows:
        if usual is not None and row.system == system and row.scenario.name.startswith("overload"):
            yield from _overload(row.scenario.name, usual.measured, row.measured)


def comparison(results: Results, row: Row) -> dict[str, Any]:
    """A row's figures over those of the best baselines that were measured, and over the encoder
    alone, all in relation to the machine's speed at their time."""
    ratios: dict[str, Any] = {
        "baselines": [],
        "of_encoder": row.texts_per_s / row.alone_per_s,
    }
    for kind in BASELINES:
        base = results.best(kind, row.scenario.name)
        if base is None or base.texts_p50 is None:
            continue
        times_p50 = None if row.texts_p50 is None else row.texts_p50 / base.texts_p50
        ratios["baselines"].append(
            {
                "system": base.system,
                "times_per_s": row.share / base.share,
                "times_p50": times_p50,
            }
        )
    return ratios


def _overload(name: str, usual: Measured, overload: Measured) -> Iterator[str]:
    if usual.times is not None and overload.times is not None:
        ratio = overload.times.p99 / usual.times.p99
        yield f"{name}: the answered have {ratio:.2f} times the p99 of distinct-64"
    if overload.refused_times is None:
        yield f"{name}: nothing was refused"
    else:
        times = overload.refused_times
        yield (
            f"{name}: {overload.refused} refused with 503, "
            f"p50 {times.p50:.1f} ms, p99 {times.p99:.1f} ms"
        )


def write(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(results), indent=1) + "\n")


def as_json(results: Results) -> dict[str, Any]:
    rows = []
    for row in results.rows:
        figures = {
            "per_s": row.measured.per_s,
            "texts_per_s": row.texts_per_s,
            "cpu_s_per_1000": row.cpu_per_1000,
            "comparison": comparison(results, row),
        }
        rows.append(dataclasses.asdict(row) | figures)
    return {
        "machine": _machine(),
        "duration_s": results.duration_s,
        "searches_alone_per_s": results.searches_alone_per_s,
        "alone_per_s": results.alone_per_s,
        "idle_mib": results.idle_mib,
        "warm_up": results.warm_up,
        "rows": rows,
        "summary": list(summary(results)),
    }


def _machine() -> dict[str, Any]:
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cells(times: Times | None) -> str:
    if times is None:
        return f"{'-':>8}" * 3
    return f"{times.p50:>8.1f}{times.p95:>8.1f}{times.p99:>8.1f}"


def _range(counts: Sequence[int]) -> str:
    if not any(counts):
        return ""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}-{high}"
