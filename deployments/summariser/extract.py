"""Extractive summaries: chooses the sentences that represent many memories, by words and
embeddings."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deployments.analyzer import Analyzer
from deployments.domain.summaries import Source
from deployments.summariser.sentences import sentences as sentences_of
from deployments.summariser.settings import Method

_REPETITION_JACCARD = 0.7
"""The Jaccard index of two sentences' terms from which on they are repetitions."""
_REPETITION_COSINE = 0.95
"""The cosine of two memories' embeddings from which on their sentences are repetitions."""
_DIVERSITY = 0.3


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the memory number `source`; `index` numbers the sentences of all memories."""

    index: int
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
    """The best sentences of `sources`, in order: at most `max_sentences`, and at most
    `max_characters` characters with a line break after each.

    `sources` are oldest first. If they have no letter or digit, the last one's content is returned.
    """
    cosines = _cosines(sources)
    sentences = _sentences(sources, analyzer)
    if not sentences:
        return [sources[-1].content]
    kept = _without_repetitions(sentences, cosines)
    if method == "frequency":
        ranked = [kept[index] for index in np.argsort(-_frequency_scores(kept), kind="stable")]
    else:
        ranked = list(_by_diversity(kept, cosines))
    chosen: list[Sentence] = []
    characters = 0
    for sentence in ranked:
        if len(chosen) == max_sentences:
            break
        if characters + len(sentence.text) + 1 <= max_characters:
            chosen.append(sentence)
            characters += len(sentence.text) + 1
    return [sentence.text for sentence in sorted(chosen, key=lambda sentence: sentence.index)]


def _sentences(sources: Sequence[Source], analyzer: Analyzer) -> list[Sentence]:
    texts = [
        (source_index, text)
        for source_index, source in enumerate(sources)
        for text in sentences_of(source.content)
    ]
    return [
        Sentence(index, source_index, text, frozenset(analyzer.terms(text)))
        for index, (source_index, text) in enumerate(texts)
    ]


def _cosines(sources: Sequence[Source]) -> NDArray[np.float32]:
    """`(N, N) float32`: the cosine of each pair of sources."""
    rows = np.stack([source.embedding for source in sources])
    cosines: NDArray[np.float32] = rows @ rows.T
    return cosines


def _without_repetitions(
    sentences: Sequence[Sentence], cosines: NDArray[np.float32]
) -> list[Sentence]:
    """The sentences, but of repetitions only the newest, because it may be a correction."""
    kept: list[Sentence] = []
    kept_by_term: dict[str, list[Sentence]] = {}
    frequencies = Counter(term for sentence in sentences for term in sentence.terms)
    for sentence in reversed(sentences):
        rarest = _rarest_terms(sentence.terms, frequencies)
        sharing = {other.index: other for term in rarest for other in kept_by_term.get(term, ())}
        if not sentence.terms:
            continue
        if any(_are_repetitions(sentence, other, cosines) for other in sharing.values()):
            continue
        kept.append(sentence)
        for term in rarest:
            kept_by_term.setdefault(term, []).append(sentence)
    return kept[::-1] or list(sentences[-1:])


def _rarest_terms(terms: Collection[str], frequencies: Counter[str]) -> list[str]:
    """The rarest terms, of which two sets share one if their Jaccard index is at least
    _REPETITION_JACCARD (prefix filtering: Chaudhuri, Ganti and Kaushik, 2006)."""
    ordered = sorted(terms, key=lambda term: (frequencies[term], term))
    return ordered[: len(ordered) - math.ceil(_REPETITION_JACCARD * len(ordered)) + 1]


def _are_repetitions(one: Sentence, other: Sentence, cosines: NDArray[np.float32]) -> bool:
    """Whether both have the same numbers, and similar terms or similar memories."""
    if _numbers(one) != _numbers(other):
        return False
    shared = len(one.terms & other.terms)
    if shared >= _REPETITION_JACCARD * len(one.terms | other.terms):
        return True
    return one.source != other.source and bool(
        cosines[one.source, other.source] >= _REPETITION_COSINE
    )


def _numbers(sentence: Sentence) -> set[str]:
    return {term for term in sentence.terms if any(map(str.isdigit, term))}


def _frequency_scores(sentences: Sequence[Sentence]) -> NDArray[np.float64]:
    """`(S,)`: the sum of the frequencies of a sentence's terms; higher is better (Luhn, 1958)."""
    frequencies = Counter(term for sentence in sentences for term in sentence.terms)
    return np.array(
        [float(sum(frequencies[term] for term in sentence.terms)) for sentence in sentences]
    )


def _information_scores(sentences: Sequence[Sentence]) -> NDArray[np.float64]:
    """`(S,)`: the sum of the inverse frequencies of a sentence's terms; higher is better (Spärck
    Jones, 1972)."""
    frequencies = Counter(term for sentence in sentences for term in sentence.terms)
    return np.array(
        [
            sum(math.log(1 + len(sentences) / frequencies[term]) for term in sentence.terms)
            for sentence in sentences
        ]
    )


def _by_diversity(
    sentences: Sequence[Sentence], cosines: NDArray[np.float32]
) -> Iterator[Sentence]:
    """The sentences, best first: those with informative terms, from memories unlike those of the
    sentences before (maximal marginal relevance: Carbonell and Goldstein, 1998)."""
    source_of = np.array([sentence.source for sentence in sentences])
    information = _information_scores(sentences)
    relevance = information / max(information.max(), 1e-9)
    max_cosine = np.zeros(len(sentences))  # of each sentence's memory with those chosen before
    is_remaining = np.ones(len(sentences), bool)
    for _ in sentences:
        gains = np.where(is_remaining, relevance - _DIVERSITY * max_cosine, -np.inf)
        best = int(gains.argmax())
        is_remaining[best] = False
        max_cosine = np.maximum(max_cosine, cosines[source_of[best], source_of])
        yield sentences[best]
