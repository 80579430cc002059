"""BM25, split into a part that depends on the memory and one that depends on the query.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), with
the idf that is never negative, ln(1 + (N - n + 0.5) / (n + 0.5)). The score of a memory for a query
is the sum over their common terms of `idf · count in the query · term_weight`.

One difference: the average length is a setting, not the mean over the stored memories. The weights
of a memory therefore do not change when others are stored or deleted; only idf changes scores.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bm25:
    """`k1` limits the gain of repeated terms, `b` is how much length counts (0 to 1), and
    `average_terms` is the length, in terms, that counts as neither short nor long."""

    k1: float = 1.2
    b: float = 0.75
    average_terms: float = 20.0

    def term_weight(self, count: int, length: int) -> float:
        """The weight of a term that is `count` of a memory's `length` terms; at most k1 + 1."""
        norm = 1 - self.b + self.b * length / self.average_terms
        return count * (self.k1 + 1) / (count + self.k1 * norm)


def idf(memories: int, containing: int) -> float:
    """The inverse document frequency of a term that `containing` of `memories` have. Above 0 even
    if the two counts disagree."""
    containing = min(max(containing, 0), memories)
    return math.log1p((memories - containing + 0.5) / (containing + 0.5))
