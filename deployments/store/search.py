"""One search: what its words are worth in its scope, then the candidates and their ranking."""

from typing import Any

from pgvector import SparseVector

from deployments.domain.ranking import MAX_IMPORTANCE, fuses_by_rank, lexical_share
from deployments.domain.types import (
    Embeddings,
    Explanation,
    Memory,
    Ranking,
    ScoreWeights,
    SearchQuery,
)
from deployments.store.lexicon import Lexicon
from deployments.store.pool import Connection
from deployments.store.queries import sql
from deployments.store.rows import memory_of
from deployments.store.settings import StoreSettings

# How many memories of a large scope are looked at for their words, where rare ones allow that.
_POSTINGS = 20_000


class Search:
    """Searches scopes of any size on a connection."""

    def __init__(self, settings: StoreSettings, lexicon: Lexicon) -> None:
        self._settings = settings
        self._postings = max(_POSTINGS, settings.exact_search_rows)
        self._lexicon = lexicon

    async def hits(
        self, connection: Connection, query: SearchQuery, embedding: Embeddings, generation: int
    ) -> list[Memory]:
        """Best first. `embedding` is `(D,) float32`."""
        name, arguments = await self.statement(connection, query, embedding, generation)
        rows = await connection.fetch(sql(name), *arguments)
        if not query.explain:
            return [memory_of(row, row["score"]) for row in rows]
        asked = self._lexicon.analyzer.terms(query.text)
        return [memory_of(row, row["score"], self._explained(row, query, asked)) for row in rows]

    async def statement(
        self, connection: Connection, query: SearchQuery, embedding: Embeddings, generation: int
    ) -> tuple[str, tuple[Any, ...]]:
        """The name of the statement that answers the query, and its arguments."""
        share = self._share(query)
        terms = self._lexicon.query(query.agent_id, query.user_id, query.text if share else "")
        rows = await connection.fetch(sql("term_frequencies"), [terms.scope_key, *terms.counts])
        frequencies = {row["term_key"]: row["memories"] for row in rows}
        weights = terms.weights(frequencies)
        if not weights.indices():  # no memory of the scope has any of the words
            share = 0.0
        arguments = _arguments(query, embedding, generation, weights, share)
        exact_rows = self._settings.exact_search_rows
        scope = (query.agent_id, query.user_id)
        if not await connection.fetchval(sql("is_larger"), *scope, exact_rows):
            return "search_whole", arguments
        candidates = max(self._settings.search_candidates, query.top_k)
        rarest = terms.rarest(frequencies, self._postings)
        return "search_large", (*arguments, candidates, rarest)

    def _share(self, query: SearchQuery) -> float:
        return lexical_share(query.ranking, self._lexicon.settings.lexical_weight)

    def _explained(self, row: Any, query: SearchQuery, asked: list[str]) -> Explanation:
        return Explanation(
            cosine=row["cosine"],
            lexical=row["lexical"],
            similarity=row["similarity"],
            recency=row["recency"],
            importance=row["importance"] / MAX_IMPORTANCE,
            age_days=row["age_days"],
            weights=_weights(query.ranking, self._share(query) if row["has_matches"] else 0.0),
            matched_terms=self._lexicon.matched_terms(asked, row["content"]),
            cosine_rank=row["cosine_rank"],
            lexical_rank=row["lexical_rank"],
        )


def _weights(ranking: Ranking, share: float) -> ScoreWeights:
    by_rank = fuses_by_rank(ranking) and share > 0
    return ScoreWeights(
        similarity=ranking.alpha,
        recency=1.0 - ranking.alpha,
        importance=ranking.importance_weight,
        cosine=None if by_rank else 1.0 - share,
        lexical=None if by_rank else share,
    )


def _arguments(
    query: SearchQuery, embedding: Embeddings, generation: int, weights: SparseVector, share: float
) -> tuple[Any, ...]:
    """The parameters that both search statements share, in their order."""
    return (
        query.agent_id,
        query.user_id,
        embedding,
        generation,
        query.top_k,
        query.ranking.alpha,
        query.ranking.half_life_days,
        query.ranking.importance_weight,
        query.filters.memory_type,
        query.filters.metadata,
        query.filters.created_after,
        query.filters.created_before,
        query.filters.min_score,
        query.as_of,
        weights,
        share,
        fuses_by_rank(query.ranking) and share > 0,
    )
