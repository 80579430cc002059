"""The parts of a hit's score, from its row."""

from typing import Any
from uuid import UUID

from deployments.domain.ranking import (
    MAX_IMPORTANCE,
    Explanation,
    Ranking,
    ScoreWeights,
    fuses_by_rank,
    marginal_score,
)
from deployments.domain.search import SearchQuery
from deployments.domain.searching.pages import Hit


def explanation(
    query: SearchQuery,
    hit: Hit[Any],
    lexical_share: float,
    matched_terms: list[str],
    chunk: str | None,
) -> Explanation:
    """Explain a hit, whose item is a row of a search statement. `chunk` is the part of a long query
    that found it."""
    row = hit.item
    return Explanation(
        cosine=row["cosine"],
        lexical=row["lexical"],
        similarity=row["similarity"],
        recency=row["recency"],
        importance=row["importance"] / MAX_IMPORTANCE,
        age_days=row["age_days"],
        weights=_weights(query.ranking, lexical_share if row["has_matches"] else 0.0),
        matched_terms=matched_terms,
        cosine_rank=row["cosine_rank"],
        lexical_rank=row["lexical_rank"],
        marginal_score=marginal_score(row["score"], hit.penalty) if query.diversity > 0 else None,
        similar_ids=[UUID(int=similar.int) for similar in hit.similar_ids],
        chunk=chunk,
    )


def _weights(ranking: Ranking, lexical_share: float) -> ScoreWeights:
    is_by_rank = fuses_by_rank(ranking) and lexical_share > 0
    return ScoreWeights(
        similarity=ranking.alpha,
        recency=1.0 - ranking.alpha,
        importance=ranking.importance_weight,
        cosine=None if is_by_rank else 1.0 - lexical_share,
        lexical=None if is_by_rank else lexical_share,
    )
