"""Turns text into the terms that lexical search compares: words, stems, identifiers, their parts,
pairs of characters, symbols.

Memories and queries go through the same steps: split the text into tokens at spaces, bring each
into one spelling, find its chunks, drop stop words, stem the other words, drop accents. An
apostrophe separates words: in "don't" or "l'eau", the part that is no word of its own is a stop
word.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from py_rust_stemmers import SnowballStemmer

from deployments.analyzer import compounds, scripts
from deployments.analyzer.chunks import Chunk, find_chunks
from deployments.analyzer.spelling import lower_case, one_spelling, without_accents
from deployments.analyzer.stop_words import (
    Language,
    Phrase,
    StopWord,
    ends_sentence,
    in_phrases,
    quotations,
    shown,
    stop_word,
    stopwords,
)

__all__ = ["ANALYZER_VERSION", "Analyzer", "Language", "MemoryTerms", "shown", "stopwords"]

ANALYZER_VERSION = 2
"""Raise it with any change that alters a text's terms: stored terms are then computed again."""

_CACHED_TOKENS = 50_000
_MAX_CACHED_CHARS = 40


@dataclass(frozen=True, slots=True)
class MemoryTerms:
    """The terms of a memory, with repetitions."""

    terms: list[str]
    """What it is about, in order. Their number is the memory's length."""
    more: list[str]
    """What some queries ask for besides: single characters, and stop words in their forms."""


@dataclass(slots=True)
class _Found:
    """What is found in a token. The cache shares it: do not change it."""

    terms: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    """More terms of memories."""
    asked: list[str] = field(default_factory=list)
    """More terms of queries."""
    stop_words: list[StopWord] = field(default_factory=list)
    ends_sentence: bool = False


class Analyzer:
    """Finds the terms of texts in one language. Thread-safe."""

    def __init__(self, language: Language) -> None:
        self._stemmer = None if language == "none" else SnowballStemmer(language)
        self._stopwords = stopwords(language)
        self._is_english = language == "english"
        self._is_turkish = language == "turkish"
        self._cached = lru_cache(_CACHED_TOKENS)(self._take_apart)

    def terms(self, text: str) -> list[str]:
        """What the text is about, in order, with repetitions."""
        return [term for found, _ in self._tokens(text) for term in found.terms]

    def of_memory(self, text: str) -> MemoryTerms:
        """The terms of a memory."""
        terms: list[str] = []
        more: list[str] = []
        phrases: list[Phrase] = [[]]
        is_shouted = text.isupper()
        for found, starts_sentence in self._tokens(text):
            if (found.terms or starts_sentence) and phrases[-1]:
                phrases.append([])
            terms += found.terms
            more += found.more
            if found.stop_words:
                phrases[-1].append(found.stop_words)
                for word in found.stop_words:
                    if word.is_name(starts_sentence, is_shouted):
                        more += word.as_name
                    elif word.is_capitalised:
                        more += word.as_capitalised
        for word in self._quoted(text):
            more += word.as_name
        more += in_phrases(phrases, has_other_words=bool(terms))
        return MemoryTerms(terms, more)

    def of_query(self, text: str) -> list[str]:
        """The terms of a query, with repetitions. Its stop words count where they are names, and if
        it has no other words."""
        terms: list[str] = []
        names: list[str] = []
        is_shouted = text.isupper()
        for found, starts_sentence in self._tokens(text):
            terms += found.terms
            terms += found.asked
            for word in found.stop_words:
                if word.is_name(starts_sentence, is_shouted):
                    names += word.as_name
        for word in self._quoted(text):
            names += (word.as_word, *word.as_name)
        if not terms:
            words = [word for found, _ in self._tokens(text) for word in found.stop_words]
            terms = [form for word in words for form in (word.as_word, *word.as_name)]
        return terms + names

    def _tokens(self, text: str) -> Iterator[tuple[_Found, bool]]:
        """What is found in each token (what stands between spaces), and whether it starts a
        sentence."""
        for line in text.splitlines():
            starts_sentence = True
            for token in line.split():
                is_cached = len(token) <= _MAX_CACHED_CHARS
                found = self._cached(token) if is_cached else self._take_apart(token)
                yield found, starts_sentence
                starts_sentence = found.ends_sentence

    def _quoted(self, text: str) -> list[StopWord]:
        """The stop words of quotations that have no other words."""
        words = []
        for quotation in quotations(text):
            found = [found for found, _ in self._tokens(quotation)]
            if not any(one.terms for one in found):
                words += [word for one in found for word in one.stop_words]
        return words

    def _take_apart(self, token: str) -> _Found:
        found = _Found(ends_sentence=ends_sentence(token))
        for number, chunk in enumerate(find_chunks(one_spelling(token))):
            self._add_chunk(found, chunk, is_first=number == 0)
        return found

    def _add_chunk(self, found: _Found, chunk: Chunk, is_first: bool) -> None:
        body = chunk.body
        if chunk.kind == "emoji":
            found.terms += [body, *compounds.emoji(body)]
            return
        if chunk.sign:
            found.terms.append(self._lower(chunk.sign + body))
        if chunk.kind == "words":
            self._add_words(found, body, is_first)
            return
        found.terms += scripts.pairs(body)
        if chunk.kind == "run":
            found.more += scripts.single_characters(body)
            found.asked += scripts.single_words(body)
        else:
            nouns = scripts.noun_of_one_syllable(body)
            found.more += nouns
            found.asked += nouns

    def _add_words(self, found: _Found, compound: str, is_first: bool) -> None:
        names = compounds.names(compound)
        if len(names) > 1:
            found.terms.append(self._lower(compound))
        found.terms += compounds.versions(compound)
        for name in names:
            word = name.rstrip(compounds.SIGNS)
            if word != name:
                found.terms.append(self._lower(name))
                if len(word) == 1:
                    continue  # C++ is not C
            folded = lower_case(word, self._is_turkish)
            if folded in self._stopwords:
                found.stop_words.append(stop_word(word, folded, is_first))
                continue
            found.terms.append(self._stem(folded))
            parts = compounds.parts(word)
            if len(parts) > 1:
                lower = [lower_case(part, self._is_turkish) for part in parts]
                found.terms += [self._stem(part) for part in lower if part not in self._stopwords]

    def _lower(self, compound: str) -> str:
        return without_accents(lower_case(compound, self._is_turkish))

    def _stem(self, word: str) -> str:
        """The stem without accents. The English stemmer is the only one that does not know them."""
        if self._is_english:
            word = without_accents(word)
        if self._stemmer is not None:
            word = self._stemmer.stem_word(word)
        return without_accents(word)
