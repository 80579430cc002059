"""What the lexical arm stores of a memory and asks of it: keys of terms, and their BM25 weights.

A key is a hash of a term together with its scope and with how terms are made. Scopes therefore
share no key: no count, no index entry and no score of one depends on the words of another.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pgvector import SparseVector

from deployments.analyzer import ANALYZER_VERSION, Analyzer
from deployments.domain.bm25 import Bm25, idf
from deployments.store.settings import SearchSettings

SPARSE_DIMENSIONS = 1_000_000_000
"""pgvector's most. Within one scope two terms meet in a dimension once in a billion pairs."""

_MUCH_TEXT_CHARS = 8_000  # two milliseconds of work

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class IndexedTerms:
    """`keys` has one entry for each different term, and the scope's own, which counts memories."""

    keys: list[int]
    weights: SparseVector

    def keys_text(self) -> str:
        """As Postgres writes an array: several of different lengths make no array of arrays."""
        return f"{{{','.join(map(str, self.keys))}}}"


class Lexicon:
    """Terms, keys and weights as the settings have them. Thread-safe."""

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self.analyzer_version = ANALYZER_VERSION
        self.analyzer = Analyzer(settings.language)
        self.bm25 = Bm25(settings.bm25_k1, settings.bm25_b, settings.bm25_average_terms)

    def index(self, agent_id: str, user_id: str, content: str) -> IndexedTerms:
        """What is stored beside a memory."""
        terms = self.analyzer.terms(content)
        keys = self._keys(agent_id, user_id)
        weights: dict[int, float] = {}
        found = []
        for term, count in Counter(terms).items():
            key = keys.of(term)
            found.append(key)
            _add(weights, key, self.bm25.term_weight(count, len(terms)))
        return IndexedTerms([keys.scope, *found], SparseVector(weights, SPARSE_DIMENSIONS))

    async def index_all(self, memories: Sequence[tuple[str, str, str]]) -> list[IndexedTerms]:
        """Of each (agent_id, user_id, content); beside the event loop where there is much to read,
        so that it goes on to answer others."""
        return await _beside_the_loop(self.index, memories)

    async def query_all(self, queries: Sequence[tuple[str, str, str]]) -> list["QueryTerms"]:
        """Of each (agent_id, user_id, text); beside the event loop like index_all."""
        return await _beside_the_loop(self.query, queries)

    def query(self, agent_id: str, user_id: str, text: str) -> "QueryTerms":
        """What a search asks for."""
        keys = self._keys(agent_id, user_id)
        counts = Counter(self.analyzer.terms(text))
        return QueryTerms(keys.scope, {keys.of(term): n for term, n in counts.items()})

    def matched_terms(self, asked: Iterable[str], content: str) -> list[str]:
        """The terms of a query that the content has, once each, in the query's order."""
        there = set(self.analyzer.terms(content))
        return [term for term in dict.fromkeys(asked) if term in there]

    def _keys(self, agent_id: str, user_id: str) -> "_Keys":
        return _Keys(str(self.analyzer_version), self.settings.language, agent_id, user_id)


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """The key that counts the scope's memories, and how often the query has each term's key."""

    scope_key: int
    counts: Mapping[int, int]

    def weights(self, frequencies: Mapping[int, int]) -> SparseVector:
        """idf · count, for the terms that occur at all. `frequencies` is how many of the scope's
        memories have each key."""
        memories = frequencies.get(self.scope_key, 0)
        weights: dict[int, float] = {}
        for key, count in self.counts.items():
            if frequencies.get(key, 0) > 0:
                _add(weights, key, count * idf(memories, frequencies[key]))
        return SparseVector(weights, SPARSE_DIMENSIONS)

    def rarest(
        self, frequencies: Mapping[int, int], most_memories: int, most_of_one: int
    ) -> list[int]:
        """The keys of the rarest terms that occur: as many as are in at most `most_memories`
        together, and the rarest of all where it is in at most `most_of_one`."""
        there = sorted(
            (key for key in self.counts if key in frequencies), key=frequencies.__getitem__
        )
        chosen = [key for key in there[:1] if frequencies[key] <= most_of_one]
        total = sum(frequencies[key] for key in chosen)
        for key in there[1:]:
            total += frequencies[key]
            if total > most_memories:
                break
            chosen.append(key)
        return chosen


class _Keys:
    """63-bit keys of one scope. Ids hold no NUL, so no two scopes hash the same text."""

    def __init__(self, *names: str) -> None:
        self._prefix = hashlib.blake2b("\0".join([*names, ""]).encode(), digest_size=8)
        self.scope = self.of("")

    def of(self, term: str) -> int:
        hashed = self._prefix.copy()
        hashed.update(term.encode())
        return int.from_bytes(hashed.digest(), "big") >> 1


def _add(weights: dict[int, float], key: int, weight: float) -> None:
    dimension = key % SPARSE_DIMENSIONS
    weights[dimension] = weights.get(dimension, 0.0) + weight


async def _beside_the_loop(
    read: Callable[[str, str, str], Read], texts: Sequence[tuple[str, str, str]]
) -> list[Read]:
    def read_all() -> list[Read]:
        return [read(*text) for text in texts]

    much = sum(len(text) for _, _, text in texts) > _MUCH_TEXT_CHARS
    return await asyncio.to_thread(read_all) if much else read_all()
