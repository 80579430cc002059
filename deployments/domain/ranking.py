"""The ranking formula, in plain Python.

The database computes the same in `ranked` of search.sql; this one is what it is tested against.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from deployments.domain.pickling import pickle_by_fields

SearchMode = Literal["hybrid", "semantic", "lexical"]
"""Whether similarity is of meaning and words, of meaning alone, or of words alone."""

Fusion = Literal["weighted", "rrf"]
"""How hybrid similarity is made of both: as a weighted sum, or by reciprocal ranks."""


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class ScoreWeights:
    """`score = similarity·similarity + recency·recency + importance·importance` and
    `similarity = cosine·cosine + lexical·lexical`, each time the weight by its part.

    The last two are None where ranks were fused.
    """

    similarity: float
    recency: float
    importance: float
    cosine: float | None
    lexical: float | None


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class Explanation:
    """The parts of a hit's score, each by its weight adding up to it."""

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
    """The query's terms that the memory has, stemmed and case-folded as they are compared."""
    cosine_rank: int | None = None
    """Among the candidates; only where ranks were fused, like the next."""
    lexical_rank: int | None = None


@pickle_by_fields
@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights of the score; ranking.py has the formula."""

    alpha: float = 0.7
    half_life_days: float = 30.0
    importance_weight: float = 0.0
    mode: SearchMode = "hybrid"
    fusion: Fusion = "weighted"
    """Of hybrid mode, like the next."""
    lexical_weight: float | None = None
    """None is the store's setting."""


SCORE_DECIMALS = 4
MAX_IMPORTANCE = 2.0
RRF_K = 60
_SECONDS_PER_DAY = 86_400.0


def recency(created_at: datetime, now: datetime, half_life_days: float) -> float:
    """Exponential decay in [0, 1]: 1 for a memory of this moment, 0.5 after one half-life.

    Ages are clamped at 0: a memory whose clock ran ahead is not newer than now.
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
    """Of all candidates of a query, from their cosines and BM25 scores.

    `(1 - share)·cosine + share·bm25 / (the best bm25)`; or, by rank, reciprocal rank fusion
    (Cormack, Clarke and Büttcher 2009), scaled so that the first of both arms has 1. Where no
    candidate has a word of the query, similarity is the cosine.
    """
    best = max(bm25s, default=0.0)
    if share == 0 or best <= 0:
        return list(cosines)
    if by_rank:
        ranks = zip(_ranks(cosines), _ranks(bm25s), bm25s, strict=True)
        return [
            (RRF_K + 1) / 2 * (1 / (RRF_K + first) + (1 / (RRF_K + second) if bm25 > 0 else 0))
            for first, second, bm25 in ranks
        ]
    return [
        (1 - share) * cosine + share * bm25 / best
        for cosine, bm25 in zip(cosines, bm25s, strict=True)
    ]


def score(
    similarity: float, created_at: datetime, importance: float, ranking: Ranking, now: datetime
) -> float:
    """`alpha·similarity + (1-alpha)·recency + importance_weight·importance/2`, to 4 decimals.

    Importance runs from 0 to 2, so its half is a third part on the same scale as the other two.
    """
    value = (
        ranking.alpha * similarity
        + (1.0 - ranking.alpha) * recency(created_at, now, ranking.half_life_days)
        + ranking.importance_weight * importance / MAX_IMPORTANCE
    )
    return round(value, SCORE_DECIMALS)


def _ranks(values: Sequence[float]) -> list[int]:
    """1 for the highest; equal values share the better rank."""
    ordered = sorted(values, reverse=True)
    first = {value: rank for rank, value in reversed(list(enumerate(ordered, 1)))}
    return [first[value] for value in values]
