"""The last step of a search if a reranker is set: its best hits, read again together with the
query."""

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
    """Best first. `reranked` is None without a reranker, and False if the reranker was late or away
    and was skipped: the hits are then in the order of their scores."""

    hits: list[Memory]
    reranked: bool | None = None


class Reranking:
    """Asks the store for as many hits as are read again, and puts those in their new order."""

    def __init__(self, reranker: Reranker, top_n: int) -> None:
        self._reranker = reranker
        self._top_n = top_n

    def widen(self, query: SearchQuery) -> SearchQuery:
        """A hit from below the caller's top_k can rise into it."""
        return replace(query, top_k=max(query.top_k, self._top_n))

    async def apply(self, query: SearchQuery, hits: list[Memory]) -> SearchResult:
        """`hits` of the widened query, in their new order, cut to the caller's top_k."""
        best, rest = hits[: self._top_n], hits[self._top_n :]
        try:
            scores = await self._reranker.scores(query.text, [hit.content for hit in best])
        except Unavailable:
            return SearchResult(hits[: query.top_k], reranked=False)
        except Exception:  # a search is complete without it, whatever is wrong with the model
            _logger.warning("the reranker failed", exc_info=True)
            return SearchResult(hits[: query.top_k], reranked=False)
        order = sorted(range(len(best)), key=lambda place: -scores[place])  # ties keep their order
        return SearchResult([*(best[place] for place in order), *rest][: query.top_k], True)
