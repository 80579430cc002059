"""Percentiles of times, and recall of hits that may have ties."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

# Scores have four decimals: a smaller difference is a tie, whatever the rounding of floats.
_TIE = 5e-5


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of `count` searches, in ms."""

    count: int
    p50: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Self:
        p50, p95, p99 = (float(value) for value in np.percentile(times_ms, (50, 95, 99)))
        return cls(len(times_ms), p50, p95, p99, float(max(times_ms)))


def relevant(scored: Sequence[tuple[str, float]], top_k: int) -> set[str]:
    """From all scores, best first: the first `top_k`, and those that tie with the last of them."""
    if len(scored) <= top_k:
        return {name for name, _ in scored}
    last = scored[top_k - 1][1]
    return {name for name, score in scored if score >= last - _TIE}


def recall(hits: Collection[str], scored: Sequence[tuple[str, float]], top_k: int) -> float | None:
    """The share of the best `top_k` that is among the hits; None if nothing has a score."""
    expected = min(top_k, len(scored))
    if not expected:
        return None
    return min(expected, len(relevant(scored, top_k).intersection(hits))) / expected
