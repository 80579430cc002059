"""The ranking formula, in plain Python.

The database computes the same in `search` of queries.sql; this one is what it is tested against.
"""

import math
from datetime import datetime

from deployments.domain.types import Ranking

SCORE_DECIMALS = 4
MAX_IMPORTANCE = 2.0
_SECONDS_PER_DAY = 86_400.0


def recency(created_at: datetime, now: datetime, half_life_days: float) -> float:
    """Exponential decay in [0, 1]: 1 for a memory of this moment, 0.5 after one half-life.

    Ages are clamped at 0: a memory whose clock ran ahead is not newer than now.
    """
    age_days = max(0.0, (now - created_at).total_seconds() / _SECONDS_PER_DAY)
    return math.exp(-math.log(2.0) * age_days / half_life_days)


def score(
    cosine: float, created_at: datetime, importance: float, ranking: Ranking, now: datetime
) -> float:
    """`alpha·cosine + (1-alpha)·recency + importance_weight·importance/2`, to 4 decimals.

    Importance runs from 0 to 2, so its half is a third part on the same scale as the other two.
    """
    value = (
        ranking.alpha * cosine
        + (1.0 - ranking.alpha) * recency(created_at, now, ranking.half_life_days)
        + ranking.importance_weight * importance / MAX_IMPORTANCE
    )
    return round(value, SCORE_DECIMALS)
