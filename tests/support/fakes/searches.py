"""The BatchedSearches port over dicts; it scores every memory of the scope."""

from collections.abc import Sequence
from dataclasses import replace

from deployments.analyzer import MemoryTerms
from deployments.domain.bm25 import idf
from deployments.domain.embeddings import Embeddings
from deployments.domain.errors import MemexError
from deployments.domain.memories import Memory
from deployments.domain.ranking import (
    Explanation,
    ScoreWeights,
    fuses_by_rank,
    lexical_share,
    score,
    similarities,
)
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import Deferred, SearchCall, SearchQuery
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
        now = query.as_of or self._rows.now()
        candidates = [row for row in self._rows.as_of(query.as_of) if is_candidate(row[0], query)]
        cosines = [float(vector @ embedding) for _, vector in candidates]
        bm25s = self._bm25s(query, [memory for memory, _ in candidates])
        share = lexical_share(query.ranking, self._lexicon.settings.lexical_weight)
        combined = similarities(cosines, bm25s, share, fuses_by_rank(query.ranking))
        hits = []
        for (memory, _), similarity in zip(candidates, combined, strict=True):
            value = score(similarity, memory.created_at, memory.importance, query.ranking, now)
            if query.filters.min_score is None or value >= query.filters.min_score:
                hits.append(replace(memory, score=value))
        if query.explain:
            hits = [replace(hit, explanation=self._explanation(hit, query)) for hit in hits]
        hits.sort(key=lambda hit: (hit.score, hit.created_at, hit.id), reverse=True)
        return hits[: query.top_k]

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

    def _explanation(self, hit: Memory, query: SearchQuery) -> Explanation:
        """Placeholder numbers with the real matched terms."""
        query_terms = self._lexicon.analyzer.of_query(query.text)
        terms = self._lexicon.matched_terms(query_terms, hit.content)
        return Explanation(0, 0, 0, 0, hit.importance / 2, 0, ScoreWeights(1, 0, 0, 1, 0), terms)

    def _bm25s(self, query: SearchQuery, candidates: Sequence[Memory]) -> list[float]:
        """The textbook formula on every memory's terms, without keys or stored weights."""
        analyzer, bm25 = self._lexicon.analyzer, self._lexicon.bm25
        scope = [
            set(_stored_terms(analyzer.of_memory(memory.content)))
            for memory, _ in self._rows.by_id.values()
            if (memory.agent_id, memory.user_id) == (query.agent_id, query.user_id)
            and memory.superseded_by is None
        ]
        query_terms = analyzer.of_query(query.text)
        values = []
        for memory in candidates:
            memory_terms = analyzer.of_memory(memory.content)
            terms = _stored_terms(memory_terms)
            values.append(
                sum(
                    idf(len(scope), sum(term in terms_of_one for terms_of_one in scope))
                    * bm25.term_weight(terms.count(term), len(memory_terms.terms))
                    for term in query_terms
                    if term in terms
                )
            )
        return values


def _stored_terms(memory: MemoryTerms) -> list[str]:
    return [*memory.terms, *memory.more]
