"""The ranking formula, in plain Python.

The database computes the same in `ranked` of search.sql, which is tested against this module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from deployments.domain.pickling import pickle_by_fields

SearchMode = Literal["hybrid", "semantic", "lexical"]
"""Whether similarity compares meaning and words, only meaning, or only words."""

Fusion = Literal["weighted", "rrf"]
"""How `cosine` and `lexical` become one similarity: a weighted sum, or reciprocal ranks."""


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class ScoreWeights:
    """`score = similarity·similarity + recency·recency + importance·importance` and
    `similarity = cosine·cosine + lexical·lexical`; each product is a weight times its part.

    `cosine` and `lexical` are None if ranks were fused.
    """

    similarity: float
    recency: float
    importance: float
    cosine: float | None
    lexical: float | None


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class Explanation:
    """The parts of a hit's score, which is the sum of each part times its weight."""

    cosine: float
    lexical: float
    """BM25 divided by the best BM25 among the query's candidates, in [0, 1]."""
    similarity: float
    recency: float
    importance: float
    """Half of the memory's importance, in [0, 1]."""
    age_days: float
    weights: ScoreWeights
    matched_terms: list[str]
    """The terms of the query that the memory has, stemmed and case-folded for comparison."""
    cosine_rank: int | None = None
    """From 1, among the candidates; None unless ranks were fused, as is `lexical_rank`."""
    lexical_rank: int | None = None
    marginal_score: float | None = None
    """The score less the penalty for the near-copies among the hits before; None without
    diversity."""
    similar_ids: list[UUID] = field(default_factory=list)
    """The memory's near-copies among the memories that were compared: the hits, and as many of the
    next ones as it took to fill the page with others."""
    chunk: str | None = None
    """The part of a long query that `cosine`, `lexical` and the score compare the memory with."""


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights of the score; `score` has the formula."""

    alpha: float = 0.7
    half_life_days: float = 30.0
    importance_weight: float = 0.0
    mode: SearchMode = "hybrid"
    fusion: Fusion = "weighted"
    """Used in hybrid mode only, as is `lexical_weight`."""
    lexical_weight: float | None = None
    """None means the store's setting."""


SCORE_DECIMALS = 4
MAX_IMPORTANCE = 2.0
RRF_K = 60
_SECONDS_PER_DAY = 86_400.0


def recency(created_at: datetime, now: datetime, half_life_days: float) -> float:
    """Exponential decay in [0, 1]: 1 for a memory made now, 0.5 after one half-life.

    Ages are clamped at 0, so a memory with a time in the future counts as made now.
    """
    age_days = max(0.0, (now - created_at).total_seconds() / _SECONDS_PER_DAY)
    return math.exp(-math.log(2.0) * age_days / half_life_days)


def lexical_share(ranking: Ranking, default_weight: float) -> float:
    """The lexical part's share of similarity, in [0, 1]: `w / (1 + w)` in hybrid mode."""
    if ranking.mode == "semantic":
        return 0.0
    if ranking.mode == "lexical":
        return 1.0
    if ranking.fusion == "rrf":
        return 0.5  # ranks are fused as equals
    weight = default_weight if ranking.lexical_weight is None else ranking.lexical_weight
    return weight / (1.0 + weight)


def fuses_by_rank(ranking: Ranking) -> bool:
    return ranking.mode == "hybrid" and ranking.fusion == "rrf"


def similarities(
    cosines: Sequence[float], bm25s: Sequence[float], share: float, by_rank: bool
) -> list[float]:
    """The similarity of each candidate of a query, from all their cosines and BM25 scores.

    `(1 - share)·cosine + share·bm25 / (the best bm25)`; or, by rank, reciprocal rank fusion
    (Cormack, Clarke and Büttcher 2009), scaled so that a candidate that is first by both has 1. If
    no candidate has a term of the query, similarity is the cosine.
    """
    best = max(bm25s, default=0.0)
    if share == 0 or best <= 0:
        return list(cosines)
    if by_rank:
        ranks = zip(_ranks(cosines), _ranks(bm25s), bm25s, strict=True)
        return [
            (RRF_K + 1)
            / 2
            * (1 / (RRF_K + cosine_rank) + (1 / (RRF_K + lexical_rank) if bm25 > 0 else 0))
            for cosine_rank, lexical_rank, bm25 in ranks
        ]
    return [
        (1 - share) * cosine + share * bm25 / best
        for cosine, bm25 in zip(cosines, bm25s, strict=True)
    ]


def score(
    similarity: float, created_at: datetime, importance: float, ranking: Ranking, now: datetime
) -> float:
    """`alpha·similarity + (1-alpha)·recency + importance_weight·importance/2`, to 4 decimals.

    Importance is 0 to 2, so half of it is on the same scale as the other two parts.
    """
    value = (
        ranking.alpha * similarity
        + (1.0 - ranking.alpha) * recency(created_at, now, ranking.half_life_days)
        + ranking.importance_weight * importance / MAX_IMPORTANCE
    )
    return round(value, SCORE_DECIMALS)


def marginal_score(score: float, penalty: float) -> float:
    """The score less the penalty for near-copies, to 4 decimals."""
    return round(score - penalty, SCORE_DECIMALS)


def _ranks(values: Sequence[float]) -> list[int]:
    """Each value's rank: 1 for the highest; equal values share the better rank."""
    ordered = sorted(values, reverse=True)
    best_rank = {value: rank for rank, value in reversed(list(enumerate(ordered, 1)))}
    return [best_rank[value] for value in values]
