"""BM25 in the form that splits into a part of the memory and a part of the query.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), with
the idf that is never negative, ln(1 + (N - n + 0.5) / (n + 0.5)). The score of a memory for a query
is the sum over their common terms of `idf · count in the query · term_weight`.

One departure: the average length is a constant of the settings, not the mean of what is stored. A
memory's weights then stay what they are while others come and go, so that only idf can move scores.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bm25:
    """`k1` bends the gain of repeated terms, `b` is how much length counts (0 to 1),
    `average_terms` the length that counts as neither short nor long."""

    k1: float = 1.2
    b: float = 0.75
    average_terms: float = 20.0

    def term_weight(self, count: int, length: int) -> float:
        """Of a term that occurs `count` times in a memory of `length` terms; at most k1 + 1."""
        norm = 1 - self.b + self.b * length / self.average_terms
        return count * (self.k1 + 1) / (count + self.k1 * norm)


def idf(memories: int, containing: int) -> float:
    """Of a term that `containing` of so many memories have. Above 0, also where counts drift."""
    containing = min(max(containing, 0), memories)
    return math.log1p((memories - containing + 0.5) / (containing + 0.5))
