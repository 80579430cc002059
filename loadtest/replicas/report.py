"""The table of all measurements, and the bottleneck that ends linear scaling."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtest.processes import KINDS
from loadtest.replicas.rows import Row, connections

_LINEAR = 0.85
_BUSY = 0.85
"""The share of all cores, or of one core for a process, that counts as fully used."""


def of_linear(row: Row, rows: Sequence[Row]) -> float | None:
    """The row's requests/s over those of the fewest replicas, scaled up linearly; None if these
    answered nothing."""
    least = min((r for r in rows if r.cost_ms == row.cost_ms), key=lambda r: r.replicas)
    linear = least.measured.per_s * row.replicas / least.replicas
    return row.measured.per_s / linear if linear else None


def table(rows: Sequence[Row]) -> Iterator[str]:
    kinds = [kind for kind in KINDS if any(row.cpu_s.get(kind) for row in rows)]
    yield f"{'':<63}{'CPU seconds for 1,000 requests':<{10 * len(kinds)}}  cores used"
    yield (
        f"{'ms/text':>7}{'N':>4}{'clients':>8}{'RPS':>8}{'linear':>8}{'p50':>8}{'p99':>8}"
        f"{'failed':>8}   " + "".join(f"{kind:>10}" for kind in kinds) + "   all  of one process"
    )
    for row in rows:
        share, times = of_linear(row, rows), row.measured.times
        cpu, cores = row.cpu_per_1000, row.cores
        yield (
            f"{row.cost_ms:>7g}{row.replicas:>4}{connections(row.replicas):>8}"
            f"{row.measured.per_s:>8.1f}{'-' if share is None else f'{share:.2f}':>8}"
            + (f"{times.p50:>8.1f}{times.p99:>8.1f}" if times else f"{'-':>8}{'-':>8}")
            + f"{row.measured.errors + row.measured.refused:>8}   "
            + "".join(f"{cpu.get(kind, 0.0):>10.2f}" for kind in kinds)
            + f"{sum(cores.values()):>6.2f}  {row.busiest} {row.of_a_core[row.busiest]:.2f}"
        )


def summary(rows: Sequence[Row], cores: int) -> Iterator[str]:
    """For each cost: how far scaling is linear, and the bottleneck beyond that."""
    for cost_ms, group in itertools.groupby(rows, key=lambda row: row.cost_ms):
        is_linear = True
        for row in group:
            share = of_linear(row, rows) or 0.0
            if share < _LINEAR:
                is_linear = False
                yield (
                    f"{cost_ms:g} ms a text: with {row.replicas} replicas {share:.2f} of linear: "
                    f"{bottleneck(row, cores)}"
                )
        if is_linear:
            yield f"{cost_ms:g} ms a text: at least {_LINEAR} of linear to {row.replicas} replicas"


def bottleneck(row: Row, cores: int) -> str:
    """The part that has no CPU time left, if there is one."""
    used, busiest = sum(row.cores.values()), row.busiest
    top = sorted(row.cores.items(), key=lambda entry: entry[1], reverse=True)[:3]
    shares = ", ".join(f"{kind} {share:.2f}" for kind, share in top)
    if used >= _BUSY * cores:
        return f"all cores are used, {used:.2f} of {cores} ({shares})"
    if row.machine_cores >= _BUSY * cores:
        other_cores = row.machine_cores - used
        return f"the machine is not quiet, other programs use {other_cores:.2f} cores ({shares})"
    if row.of_a_core[busiest] >= _BUSY:
        return f"{busiest}, each process of which uses {row.of_a_core[busiest]:.2f} of a core"
    return (
        f"no CPU: {used:.2f} of {cores} cores are used ({shares}), and the replicas sleep "
        f"{row.measured.per_s / row.most_per_s:.0%} of the time for a text"
    )


def as_json(rows: Sequence[Row], cores: int, duration_s: int) -> Mapping[str, Any]:
    return {
        "cores": cores,
        "duration_s": duration_s,
        "rows": [
            dataclasses.asdict(row)
            | {
                "per_s": row.measured.per_s,
                "of_linear": of_linear(row, rows),
                "of_what_replicas_could": row.measured.per_s / row.most_per_s,
                "cpu_s_per_1000": row.cpu_per_1000,
                "cores_used": row.cores,
                "of_a_core": row.of_a_core,
                "busiest": row.busiest,
            }
            for row in rows
        ],
        "summary": list(summary(rows, cores)),
    }
