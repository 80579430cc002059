"""The BatchedSearches port over dicts; it scores every memory of the scope."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deployments.analyzer import MemoryTerms
from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import MemexError
from deployments.domain.memories import Memory
from deployments.domain.ranking import (
    Explanation,
    ScoreWeights,
    fuses_by_rank,
    lexical_share,
    marginal_score,
    score,
    similarities,
)
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery
from deployments.domain.searching.bm25 import idf
from deployments.domain.searching.pages import Found, Hit, page_of
from deployments.store.lexical.lexicon import Lexicon
from deployments.store.settings import SearchSettings
from tests.support.fakes.filters import is_candidate
from tests.support.fakes.rows import Rows


class InMemorySearches:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lexicon = Lexicon(SearchSettings())

    async def search(
        self,
        query: SearchQuery,
        embedding: Embeddings,
        generation: int,
        rate_limit: RateLimit | None,
    ) -> list[Memory]:
        await self._rows.ping()
        self._rows.hit(query.agent_id, rate_limit)
        self._rows.check(generation)
        chunks = query.chunks or (query.text,)
        found = [
            self._found(replace(query, text=chunk), row)
            for chunk, row in zip(chunks, np.atleast_2d(embedding), strict=True)
        ]
        page = page_of(found, query.top_k, query.diversity)
        if not query.explain:
            return [hit.item for hit in page.hits]
        return [replace(hit.item, explanation=self._explanation(hit, query)) for hit in page.hits]

    def _found(self, query: SearchQuery, embedding: Embeddings) -> Found[Memory]:
        """Every memory that passes the filters, best first."""
        now = query.as_of or self._rows.now()
        filters = query.filters
        candidates = [row for row in self._rows.as_of(query.as_of) if is_candidate(row[0], query)]
        cosines = [float(vector @ embedding) for _, vector in candidates]
        bm25s, total = self._bm25s(query, [memory for memory, _ in candidates])
        share = lexical_share(query.ranking, self._lexicon.settings.lexical_weight)
        if share == 0:
            bm25s = [0.0] * len(candidates)
        combined = similarities(cosines, bm25s, share, fuses_by_rank(query.ranking))
        hits = []
        for (memory, vector), cosine, bm25, similarity in zip(
            candidates, cosines, bm25s, combined, strict=True
        ):
            value = score(similarity, memory.created_at, memory.importance, query.ranking, now)
            is_related = filters.min_similarity is None or (
                cosine >= filters.min_similarity
                or (total > 0 and bm25 >= filters.min_similarity * total)
            )
            if is_related and (filters.min_score is None or value >= filters.min_score):
                hits.append((value, memory.created_at, memory.id, memory, vector))
        hits.sort(key=lambda hit: hit[:3], reverse=True)
        return Found(
            [replace(memory, score=value) for value, _, _, memory, _ in hits],
            [memory_id for _, _, memory_id, _, _ in hits],
            [value for value, *_ in hits],
            np.stack([vector for *_, vector in hits]) if hits and query.avoids_copies else None,
        )

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | Deferred]:
        return [await self._outcome(call) for call in calls]

    async def _outcome(self, call: SearchCall) -> list[Memory] | MemexError:
        try:
            return await InMemorySearches.search(
                self, call.query, call.embedding, call.generation, call.rate_limit
            )
        except MemexError as error:
            return error

    def _explanation(self, hit: Hit[Memory], query: SearchQuery) -> Explanation:
        """Placeholder numbers with the real matched terms and near-copies."""
        memory, weights = hit.item, ScoreWeights(1, 0, 0, 1, 0)
        chunk = query.chunks[hit.search] if query.chunks else None
        terms = self._lexicon.analyzer.of_query(chunk or query.text)
        matched = self._lexicon.matched_terms(terms, memory.content)
        marginal = None
        if query.diversity > 0 and memory.score is not None:
            marginal = marginal_score(memory.score, hit.penalty)
        return Explanation(
            0, 0, 0, 0, memory.importance / 2, 0, weights, matched,
            marginal_score=marginal, similar_ids=list(hit.similar_ids), chunk=chunk,
        )  # fmt: skip

    def _bm25s(self, query: SearchQuery, candidates: Sequence[Memory]) -> tuple[list[float], float]:
        """The textbook formula on every memory's terms, without keys or stored weights; and the
        sum of idf over the query's terms."""
        analyzer, bm25 = self._lexicon.analyzer, self._lexicon.bm25
        scope = [
            set(_stored_terms(analyzer.of_memory(memory.content)))
            for memory, _ in self._rows.by_id.values()
            if (memory.agent_id, memory.user_id) == (query.agent_id, query.user_id)
            and memory.superseded_by is None
        ]
        query_terms = analyzer.of_query(query.text)
        idfs = [
            idf(len(scope), sum(term in terms_of_one for terms_of_one in scope))
            for term in query_terms
        ]
        values = []
        for memory in candidates:
            memory_terms = analyzer.of_memory(memory.content)
            terms = _stored_terms(memory_terms)
            values.append(
                sum(
                    idf_of_term * bm25.term_weight(terms.count(term), len(memory_terms.terms))
                    for term, idf_of_term in zip(query_terms, idfs, strict=True)
                    if term in terms
                )
            )
        return values, sum(idfs)


def _stored_terms(memory: MemoryTerms) -> list[str]:
    return [*memory.terms, *memory.more]
