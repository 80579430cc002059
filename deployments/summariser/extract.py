"""Chooses the sentences that stand for many memories: extractive, by words and embeddings."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deployments.analyzer import Analyzer
from deployments.domain.summaries import Source
from deployments.summariser.sentences import sentences
from deployments.summariser.settings import Method

ALIKE_TERMS = 0.7
"""Jaccard index of two sentences' terms from which on they say the same."""
ALIKE_COSINE = 0.95
"""The same of two memories, by their embeddings."""
_DIVERSITY = 0.3


@dataclass(frozen=True, slots=True)
class Sentence:
    """One of a memory's; `place` counts through all of them."""

    place: int
    source: int
    text: str
    terms: frozenset[str] = field(repr=False)


def extract(
    sources: Sequence[Source],
    analyzer: Analyzer,
    method: Method,
    max_sentences: int,
    max_characters: int,
) -> list[str]:
    """The best sentences of memories, oldest first, in their order. None is longer than what the
    parting of sentences leaves; at least one where a memory has a letter."""
    similar = _cosines(sources)
    found = _sentences(sources, analyzer)
    if not found:  # nothing but signs
        return [sources[-1].content]
    kept = without_repetition(found, similar)
    if method == "frequency":
        ranked = [kept[place] for place in np.argsort(-frequency_scores(kept), kind="stable")]
    else:
        ranked = list(_by_diversity(kept, similar))
    chosen: list[Sentence] = []
    characters = 0
    for sentence in ranked:
        if len(chosen) == max_sentences:
            break
        if characters + len(sentence.text) + 1 <= max_characters:
            chosen.append(sentence)
            characters += len(sentence.text) + 1
    return [sentence.text for sentence in sorted(chosen, key=lambda sentence: sentence.place)]


def _sentences(sources: Sequence[Source], analyzer: Analyzer) -> list[Sentence]:
    texts = [
        (number, text)
        for number, source in enumerate(sources)
        for text in sentences(source.content)
    ]
    return [
        Sentence(place, number, text, frozenset(analyzer.terms(text)))
        for place, (number, text) in enumerate(texts)
    ]


def _cosines(sources: Sequence[Source]) -> NDArray[np.float32]:
    """`(N, N) float32`."""
    rows = np.stack([source.embedding for source in sources])
    cosines: NDArray[np.float32] = rows @ rows.T
    return cosines


def without_repetition(found: Sequence[Sentence], similar: NDArray[np.float32]) -> list[Sentence]:
    """Of those that say the same the newest: it may be a correction. Those that differ in a number
    do not say the same."""
    kept: list[Sentence] = []
    by_term: dict[str, list[Sentence]] = {}
    frequencies = Counter(term for sentence in found for term in sentence.terms)
    for sentence in reversed(found):
        prefix = _prefix(sentence.terms, frequencies)
        others = {other.place: other for term in prefix for other in by_term.get(term, ())}
        if not sentence.terms:
            continue
        if any(_same(sentence, other, similar) for other in others.values()):
            continue
        kept.append(sentence)
        for term in prefix:
            by_term.setdefault(term, []).append(sentence)
    return kept[::-1] or list(found[-1:])


def _prefix(terms: Collection[str], frequencies: Counter[str]) -> list[str]:
    """The rarest terms, of which two sets as alike as that share one (prefix filtering: Chaudhuri,
    Ganti and Kaushik, 2006)."""
    ordered = sorted(terms, key=lambda term: (frequencies[term], term))
    return ordered[: len(ordered) - math.ceil(ALIKE_TERMS * len(ordered)) + 1]


def _same(one: Sentence, other: Sentence, similar: NDArray[np.float32]) -> bool:
    if _numbers(one) != _numbers(other):
        return False
    shared = len(one.terms & other.terms)
    if shared >= ALIKE_TERMS * len(one.terms | other.terms):
        return True
    return one.source != other.source and bool(similar[one.source, other.source] >= ALIKE_COSINE)


def _numbers(sentence: Sentence) -> set[str]:
    return {term for term in sentence.terms if any(map(str.isdigit, term))}


def frequency_scores(found: Sequence[Sentence]) -> NDArray[np.float64]:
    """`(S,)`: the frequencies of a sentence's terms, added up; higher is better (Luhn, 1958)."""
    frequencies = Counter(term for sentence in found for term in sentence.terms)
    return np.array(
        [float(sum(frequencies[term] for term in sentence.terms)) for sentence in found]
    )


def information_scores(found: Sequence[Sentence]) -> NDArray[np.float64]:
    """`(S,)`: how much a sentence's terms tell, the rare ones most: their inverse frequencies,
    added up; higher is better (Spärck Jones, 1972)."""
    frequencies = Counter(term for sentence in found for term in sentence.terms)
    return np.array(
        [
            sum(math.log(1 + len(found) / frequencies[term]) for term in sentence.terms)
            for sentence in found
        ]
    )


def _by_diversity(found: Sequence[Sentence], similar: NDArray[np.float32]) -> Iterator[Sentence]:
    """Best first: what tells much and comes of a memory unlike those chosen before (maximal
    marginal relevance: Carbonell and Goldstein, 1998)."""
    of = np.array([sentence.source for sentence in found])
    information = information_scores(found)
    relevance = information / max(information.max(), 1e-9)
    nearest = np.zeros(len(found))
    left = np.ones(len(found), bool)
    for _ in found:
        gains = np.where(left, relevance - _DIVERSITY * nearest, -np.inf)
        best = int(gains.argmax())
        left[best] = False
        nearest = np.maximum(nearest, similar[of[best], of])
        yield found[best]
