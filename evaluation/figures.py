"""Figures of a question from its ranks, and their means over questions, with intervals. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NDCG_AT = 10
_RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 250  # bounds memory: a resample holds all questions' figures
_SEED = 20_230_501
_INTERVAL = (2.5, 97.5)

Rank = int | None  # from 1; None if not found
Ranks = Sequence[Rank]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over questions and its 95 % interval."""

    mean: float
    low: float
    high: float


def positions(ranking: Sequence[str]) -> dict[str, int]:
    """The rank of each name among the distinct ones, by its best entry."""
    return {name: rank for rank, name in enumerate(dict.fromkeys(ranking), start=1)}


def figures_of(ranks: Ranks, ks: Sequence[int]) -> dict[str, float]:
    """A question's figures, from the ranks of all its evidence (at least one)."""
    hits = sorted(rank for rank in ranks if rank is not None)
    within = {k: sum(rank <= k for rank in hits) for k in ks}
    figures = {f"any@{k}": float(within[k] > 0) for k in ks}
    figures |= {f"fraction@{k}": within[k] / len(ranks) for k in ks}
    figures |= {f"all@{k}": float(within[k] == len(ranks)) for k in ks}
    figures[f"NDCG@{NDCG_AT}"] = _ndcg(hits, len(ranks))
    figures["MRR"] = 1 / hits[0] if hits else 0.0
    return figures


def _ndcg(hits: Sequence[int], relevant: int) -> float:
    """NDCG with binary gains: 1 if everything relevant comes first."""
    gain = sum(1 / math.log2(rank + 1) for rank in hits if rank <= NDCG_AT)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(relevant, NDCG_AT) + 1))
    return gain / ideal


def mean_figures(questions: Sequence[dict[str, float]]) -> dict[str, Figure]:
    """Means over questions (at least one), with percentile bootstrap intervals.

    A question's figures are drawn together, always with the same seed: identical ranks have
    identical intervals, whichever other figures are computed.
    """
    names = list(questions[0])
    values = np.array([[figures[name] for name in names] for figures in questions])
    random = np.random.default_rng(_SEED)
    means = np.concatenate(
        [
            values[random.integers(0, len(values), (_RESAMPLES_AT_ONCE, len(values)))].mean(axis=1)
            for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE)
        ]
    )
    low, high = np.percentile(means, _INTERVAL, axis=0)
    mean = values.mean(axis=0)
    return {
        name: Figure(*(round(float(bound[at]), 6) for bound in (mean, low, high)))
        for at, name in enumerate(names)
    }


def percentiles(values: Sequence[float], at: Sequence[float]) -> list[float] | None:
    """Interpolated percentiles; None if there are no values."""
    return [round(float(value), 4) for value in np.percentile(values, at)] if values else None
