"""The last step of a search if a reranker is set: a cross-encoder reorders the best hits."""

import logging
from dataclasses import dataclass, replace

from deployments.domain.errors import Unavailable
from deployments.domain.memories import Memory
from deployments.domain.ports.reranking import Reranker
from deployments.domain.search import SearchQuery
from deployments.runtime import logs

_logger = logging.getLogger(logs.NAME)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first. `reranked` is None without a reranker, and False if the reranker failed or
    exceeded its budget: the hits are then in the order of their scores."""

    hits: list[Memory]
    reranked: bool | None = None


class Reranking:
    """Reranks the best `top_n` hits of a search."""

    def __init__(self, reranker: Reranker, top_n: int) -> None:
        self._reranker = reranker
        self._top_n = top_n

    def widen(self, query: SearchQuery) -> SearchQuery:
        """The query with a `top_k` of at least `top_n`: hits below the caller's `top_k` can rise
        into it."""
        return replace(query, top_k=max(query.top_k, self._top_n))

    async def apply(self, query: SearchQuery, hits: list[Memory]) -> SearchResult:
        """The hits of the widened query, reordered, cut to the caller's `top_k`."""
        best, rest = hits[: self._top_n], hits[self._top_n :]
        try:
            scores = await self._reranker.scores(query.text, [hit.content for hit in best])
        except Unavailable:
            return SearchResult(hits[: query.top_k], reranked=False)
        except Exception:  # a search is complete without its reranking
            _logger.warning("the reranker failed", exc_info=True)
            return SearchResult(hits[: query.top_k], reranked=False)
        order = sorted(range(len(best)), key=lambda rank: -scores[rank])  # ties keep their order
        return SearchResult([*(best[rank] for rank in order), *rest][: query.top_k], True)
