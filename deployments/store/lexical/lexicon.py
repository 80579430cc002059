"""Keys and BM25 weights of terms: those stored with a memory, and those of a query.

A key is a hash of a term, its scope and the language. Scopes therefore share no key: no count,
index entry or score of one scope depends on the words of another. Equal terms of two versions of
the analyzer have equal keys, by which memories are found until their terms are renewed.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from pgvector import SparseVector

from deployments.analyzer import ANALYZER_VERSION, Analyzer, shown
from deployments.domain.searching.bm25 import Bm25, idf
from deployments.store.settings import SearchSettings

SPARSE_DIMENSIONS = 1_000_000_000
"""pgvector's maximum. Two terms of a scope share a dimension once in a billion pairs."""

_KEY_VERSION = "1"  # another one makes all keys other keys
_LONG_TEXT_CHARS = 8_000  # takes 2 ms to analyse

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class IndexedTerms:
    """A memory's keys and weights. `keys` has the scope's key, which counts memories, then one key
    for each different term."""

    keys: list[int]
    weights: SparseVector

    def keys_text(self) -> str:
        """The keys as the text of a Postgres array, because arrays of different lengths cannot form
        an array of arrays."""
        return f"{{{','.join(map(str, self.keys))}}}"


class Lexicon:
    """Makes terms, keys and weights by the settings. Thread-safe."""

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self.analyzer_version = ANALYZER_VERSION
        self.analyzer = Analyzer(settings.language)
        self.bm25 = Bm25(settings.bm25_k1, settings.bm25_b, settings.bm25_average_terms)

    def index(self, agent_id: str, user_id: str, content: str) -> IndexedTerms:
        """The terms to store with a memory."""
        memory = self.analyzer.of_memory(content)
        keys = self._keys(agent_id, user_id)
        weights: dict[int, float] = {}
        term_keys = []
        for term, count in Counter(chain(memory.terms, memory.more)).items():
            key = keys.of(term)
            term_keys.append(key)
            _add(weights, key, self.bm25.term_weight(count, len(memory.terms)))
        return IndexedTerms([keys.scope, *term_keys], SparseVector(weights, SPARSE_DIMENSIONS))

    async def index_all(self, memories: Sequence[tuple[str, str, str]]) -> list[IndexedTerms]:
        """`index` for each (agent_id, user_id, content). Long texts are analysed in a thread, so
        that the event loop continues to serve requests."""
        return await _in_thread_if_long(self.index, memories)

    async def query_all(self, queries: Sequence[tuple[str, str, str]]) -> list["QueryTerms"]:
        """`query` for each (agent_id, user_id, text), in a thread as in `index_all`."""
        return await _in_thread_if_long(self.query, queries)

    def query(self, agent_id: str, user_id: str, text: str) -> "QueryTerms":
        """The terms of a query, as keys of the scope."""
        keys = self._keys(agent_id, user_id)
        counts = Counter(self.analyzer.of_query(text))
        return QueryTerms(keys.scope, {keys.of(term): n for term, n in counts.items()})

    def matched_terms(self, query_terms: Iterable[str], content: str) -> list[str]:
        """The terms of a query that the content has, once each, in the query's order; stop words
        without their form."""
        memory = self.analyzer.of_memory(content)
        content_terms = {*memory.terms, *memory.more}
        return list(dict.fromkeys(shown(term) for term in query_terms if term in content_terms))

    def _keys(self, agent_id: str, user_id: str) -> "_Keys":
        return _Keys(_KEY_VERSION, self.settings.language, agent_id, user_id)


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query's terms in one scope."""

    scope_key: int
    """The key that counts the scope's memories."""
    counts: Mapping[int, int]
    """How often the query has the term of each key."""

    def weights(
        self, frequencies: Mapping[int, int], *, with_unknown: bool = False
    ) -> SparseVector:
        """idf · count, for the terms that any memory has. `frequencies` is the number of the
        scope's memories that have each key. `with_unknown`: also for terms that no memory has
        now."""
        memories = frequencies.get(self.scope_key, 0)
        weights: dict[int, float] = {}
        for key, count in self.counts.items():
            containing = frequencies.get(key, 0)
            if with_unknown or containing > 0:
                _add(weights, key, count * idf(memories, containing))
        return SparseVector(weights, SPARSE_DIMENSIONS)

    def total_weight(self, frequencies: Mapping[int, int]) -> float:
        """The sum of idf · count over all terms, also those that no memory has."""
        memories = frequencies.get(self.scope_key, 0)
        return sum(
            count * idf(memories, frequencies.get(key, 0)) for key, count in self.counts.items()
        )

    def rarest(
        self, frequencies: Mapping[int, int], max_memories: int, max_of_rarest: int
    ) -> list[int]:
        """The keys of the rarest terms that any memory has: the rarest if at most `max_of_rarest`
        memories have it, and the next ones while the sum is at most `max_memories`."""
        by_frequency = sorted(
            (key for key in self.counts if key in frequencies), key=frequencies.__getitem__
        )
        chosen = [key for key in by_frequency[:1] if frequencies[key] <= max_of_rarest]
        total = sum(frequencies[key] for key in chosen)
        for key in by_frequency[1:]:
            total += frequencies[key]
            if total > max_memories:
                break
            chosen.append(key)
        return chosen


class _Keys:
    """63-bit keys of one scope. Ids contain no NUL, so no two scopes hash the same text."""

    def __init__(self, *names: str) -> None:
        self._prefix = hashlib.blake2b("\0".join([*names, ""]).encode(), digest_size=8)
        self.scope = self.of("")

    def of(self, term: str) -> int:
        hasher = self._prefix.copy()
        hasher.update(term.encode())
        return int.from_bytes(hasher.digest(), "big") >> 1


def _add(weights: dict[int, float], key: int, weight: float) -> None:
    dimension = key % SPARSE_DIMENSIONS
    weights[dimension] = weights.get(dimension, 0.0) + weight


async def _in_thread_if_long(
    analyse: Callable[[str, str, str], Result], texts: Sequence[tuple[str, str, str]]
) -> list[Result]:
    def analyse_all() -> list[Result]:
        return [analyse(*text) for text in texts]

    is_long = sum(len(text) for _, _, text in texts) > _LONG_TEXT_CHARS
    return await asyncio.to_thread(analyse_all) if is_long else analyse_all()
