"""The last step of a search if a reranker is set: a cross-encoder reorders the best hits."""

import logging
from dataclasses import dataclass, replace

from deployments.domain.errors import Unavailable
from deployments.domain.memories import Memory
from deployments.domain.ports.reranking import Reranker
from deployments.domain.search import SearchQuery
from deployments.runtime import logs

_logger = logging.getLogger(logs.NAME)
_ROUNDING = 1e-3  # of two scores with four decimals, and more


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first. `reranked` is None without a reranker, and False if the reranker failed or
    exceeded its budget, or if the query is long: the hits then keep their order."""

    hits: list[Memory]
    reranked: bool | None = None


class Reranking:
    """Reranks the best `top_n` hits of a search. A long query exceeds the model's window, so its
    hits keep their order."""

    def __init__(self, reranker: Reranker, top_n: int) -> None:
        self._reranker = reranker
        self._top_n = top_n

    def widen(self, query: SearchQuery) -> SearchQuery:
        """The query with a `top_k` of at least `top_n`: hits below the caller's `top_k` can rise
        into it. Its hits are explained, so that `apply` knows the near-copies."""
        if query.chunks:
            return query
        is_explained = query.explain or query.diversity > 0
        return replace(query, top_k=max(query.top_k, self._top_n), explain=is_explained)

    async def apply(self, query: SearchQuery, hits: list[Memory]) -> SearchResult:
        """The hits of the widened query, reordered, cut to the caller's `top_k`. Copies of hits
        come after the others."""
        is_copy = [_is_copy(hit, query) for hit in hits]
        if not query.explain:
            hits = [replace(hit, explanation=None) for hit in hits]
        unchanged = SearchResult(hits[: query.top_k], reranked=False)
        if query.chunks:
            return unchanged
        best, rest = hits[: self._top_n], hits[self._top_n :]
        try:
            scores = await self._reranker.scores(query.text, [hit.content for hit in best])
        except Unavailable:
            return unchanged
        except Exception:  # a search is complete without its reranking
            _logger.warning("the reranker failed", exc_info=True)
            return unchanged
        # Ties keep their order.
        order = sorted(range(len(best)), key=lambda rank: (is_copy[rank], -scores[rank]))
        return SearchResult([*(best[rank] for rank in order), *rest][: query.top_k], True)


def _is_copy(hit: Memory, query: SearchQuery) -> bool:
    """Whether the hit lost what a copy of one of the hits before it loses, or more."""
    parts = hit.explanation
    if parts is None or parts.marginal_score is None or hit.score is None:
        return False
    return query.diversity > 0 and hit.score - parts.marginal_score >= query.diversity - _ROUNDING
