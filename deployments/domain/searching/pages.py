"""Chooses the hits of a page from the candidates that the searches of a query found.

A long query is searched by its chunks (chunks.py). Candidates of different chunks are compared by
*value*: the score less the best score of the chunk. So each chunk has a say, even if others
resemble more memories, and a memory counts by its best chunk. The chunks at the ends have a bonus.

Near-copies do not fill the page. Hits are chosen one after the other: each time the candidate with
the highest value less a *penalty* for its near-copies among the hits before. This is maximal
marginal relevance (Carbonell and Goldstein 1998) with two differences. Memories that are merely
related have no penalty, because a page of those is what a search is for. And penalties add up, so
that a second copy loses little and a tenth much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

import numpy as np

from deployments.domain.embeddings import Embeddings

DEFAULT_DIVERSITY = 0.1
"""The highest with which no recall fell on development data (docs/how-to/evaluation.md)."""

NEAR_COSINE = 0.85
"""Two memories are near-copies if the cosine of their embeddings is above this."""
COPY_COSINE = 0.95
"""From this on they are copies. Equal texts have 0.98 or more (an embedding of the int8 model
depends on the texts that share its batch); texts with another number or word have 0.9 to 0.97."""

END_BONUS = 0.05
"""What candidates of the first and of the last chunk have more. Twice as much finds more of what
is asked there, and half as much of what is asked between."""

_MAX_PAIRED = 100  # of more candidates, not all pairs are compared

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Found(Generic[Item]):
    """The candidates of a search, best first, as a list for each of their fields. `embeddings` is
    `(N, D) float32`; None if near-copies may fill the page."""

    items: Sequence[Item]
    ids: Sequence[UUID]
    scores: Sequence[float]
    embeddings: Embeddings | None = None


@dataclass(frozen=True, slots=True)
class Hit(Generic[Item]):
    """A candidate that was chosen."""

    item: Item
    search: int
    """The place of the search that found it with the highest value."""
    penalty: float = 0.0
    similar_ids: Sequence[UUID] = ()
    """Its near-copies among all candidates."""


@dataclass(frozen=True, slots=True)
class HitPage(Generic[Item]):
    """The hits, best first. `is_complete` is False if memories that the searches have not returned
    could be better than one of them."""

    hits: list[Hit[Item]]
    is_complete: bool = True


def page_of(
    searches: Sequence[Found[Item]], top_k: int, diversity: float, limit: int | None = None
) -> HitPage[Item]:
    """At most `top_k` hits; all searches have embeddings or none. A search with `limit` candidates
    may not have returned all."""
    found = searches[0]
    if len(searches) == 1 and not _has_near_copies(found):
        return HitPage([Hit(item, 0) for item in found.items[:top_k]])
    merged = _Merged(searches)
    if found.embeddings is None:
        return HitPage([merged.hit(n) for n in range(min(top_k, len(merged.places)))])
    hits, values = merged.spread(top_k, diversity)
    unseen = max(
        (_values(searches, n)[-1] for n, each in enumerate(searches) if len(each.items) == limit),
        default=-math.inf,
    )
    is_complete = unseen == -math.inf or (len(hits) == top_k and min(values) >= unseen)
    return HitPage(hits, is_complete)


def _has_near_copies(found: Found[Item]) -> bool:
    if found.embeddings is None or len(found.items) < 2:
        return False
    if len(found.items) > _MAX_PAIRED:
        return True  # there may be some
    cosines = found.embeddings @ found.embeddings.T
    return bool(np.count_nonzero(cosines > NEAR_COSINE) > len(cosines))  # each is near itself


def _values(searches: Sequence[Found[Item]], number: int) -> list[float]:
    """The values of a search's candidates. If there is only one search, values are scores."""
    scores = list(searches[number].scores)
    if len(searches) == 1 or not scores:
        return scores
    bonus = END_BONUS if number in (0, len(searches) - 1) else 0.0
    return [score - scores[0] + bonus for score in scores]


class _Merged(Generic[Item]):
    """The candidates of all searches, each memory once; highest values first."""

    def __init__(self, searches: Sequence[Found[Item]]) -> None:
        self._searches = searches
        # By rank, so that a chunk whose candidates have equal scores does not come before others.
        ranked = sorted(
            (-value, rank, -searches[number].scores[rank], number)
            for number in range(len(searches))
            for rank, value in enumerate(_values(searches, number))
        )
        best: dict[UUID, tuple[int, int, float]] = {}
        for value, rank, _, number in ranked:
            best.setdefault(searches[number].ids[rank], (number, rank, -value))
        self.ids = list(best)
        self.places = list(best.values())

    def hit(self, n: int, penalty: float = 0.0, similar_ids: Sequence[UUID] = ()) -> Hit[Item]:
        number, rank, _ = self.places[n]
        return Hit(self._searches[number].items[rank], number, penalty, similar_ids)

    def spread(self, top_k: int, diversity: float) -> tuple[list[Hit[Item]], list[float]]:
        """The hits, and their values less their penalties."""
        if not self.places:
            return [], []
        embeddings = np.stack([self._embedding(number, rank) for number, rank, _ in self.places])
        remaining = np.array([value for _, _, value in self.places])
        penalties = np.zeros(len(remaining))
        hits: list[Hit[Item]] = []
        values: list[float] = []
        for _ in range(min(top_k, len(remaining))):
            best = int(np.argmax(remaining - penalties))
            cosines = embeddings @ embeddings[best]
            cosines[best] = 0
            similar_ids = [self.ids[n] for n in np.flatnonzero(cosines > NEAR_COSINE)]
            hits.append(self.hit(best, float(penalties[best]), similar_ids))
            values.append(float(remaining[best] - penalties[best]))
            remaining[best] = -np.inf
            nearness = (cosines - NEAR_COSINE) / (COPY_COSINE - NEAR_COSINE)
            penalties += diversity * np.clip(nearness, 0, 1)
        return hits, values

    def _embedding(self, number: int, rank: int) -> Embeddings:
        embeddings = self._searches[number].embeddings
        assert embeddings is not None
        row: Embeddings = embeddings[rank]
        return row
