"""Turns text into the terms that lexical search compares: words, stems, identifiers, their parts.

A memory and a query go through the same steps: find Unicode words (NFKC, case-folded), drop stop
words, stem the rest, drop the accents of Latin and Greek letters. A compound such as a path, a
version, or a name in snake or camel case gives itself and each of its parts. Scripts without spaces
between words (Chinese, Japanese, Thai …) give every pair of neighbouring characters. An apostrophe
separates words: in "don't" or "l'eau", the part that is no word of its own is a stop word.
"""

import importlib
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, get_args

import regex
from py_rust_stemmers import SnowballStemmer

Language = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese",
    "russian", "spanish", "swedish", "turkish",
]  # fmt: skip
"""The languages with both a stemmer and a list of stop words; `none` leaves words unchanged."""

ANALYZER_VERSION = 1
"""Raise it with any change that alters a text's terms: stored terms are then computed again."""

_STOPWORDS = {
    language: f"STOPWORDS_{'EN_PLUS' if language == 'english' else language.upper()}"
    for language in get_args(Language)
    if language != "none"
}

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
_WORD = rf"[\p{{L}}\p{{M}}\p{{N}}--{_UNSPACED}]"
# Words joined by signs without spaces, or a run of an unspaced script.
_CHUNK = regex.compile(rf"(?V1){_WORD}+(?:[_\-./\\:@#+&]+{_WORD}+)*|[{_UNSPACED}\p{{M}}]+")
_PART = regex.compile(rf"(?V1){_WORD}+")
_CASE_BOUNDARY = regex.compile(
    r"(?V1)(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}(?!s\b)\p{Ll})|(?<=\p{L})(?=\p{Nd})|(?<=\p{Nd})(?=\p{L})"
)
_GROUPED_DIGITS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ACCENTS = regex.compile(r"(?V1)([\p{Latin}\p{Greek}])\p{Mn}+")
# No letter of any language has more marks, and normalising a long run takes quadratic time.
_TOO_MANY_MARKS = regex.compile(r"(\p{M}{16})\p{M}+")
_UNSPACED_RUN = regex.compile(rf"(?V1)[{_UNSPACED}]")
_CACHED_CHUNKS = 100_000
_MAX_CACHED_CHARS = 40


class Analyzer:
    """Finds the terms of texts in one language. Thread-safe."""

    def __init__(self, language: Language) -> None:
        self._stemmer = None if language == "none" else SnowballStemmer(language)
        self._stopwords = stopwords(language)
        self._cached = lru_cache(_CACHED_CHUNKS)(self._terms_of)

    def terms(self, text: str) -> list[str]:
        """The text's terms, in order, with repetitions."""
        if not text.isascii():
            text = unicodedata.normalize("NFKC", _TOO_MANY_MARKS.sub(r"\1", text))
        text = _GROUPED_DIGITS.sub("", text)
        terms: list[str] = []
        for match in _CHUNK.finditer(text):
            chunk = match[0]
            terms += (
                self._cached(chunk) if len(chunk) <= _MAX_CACHED_CHARS else self._terms_of(chunk)
            )
        return terms

    def _terms_of(self, chunk: str) -> tuple[str, ...]:
        if _UNSPACED_RUN.match(chunk):
            return tuple(_pairs(chunk))
        parts = [part for word in _PART.findall(chunk) for part in _CASE_BOUNDARY.split(word)]
        terms = [self._term(part) for part in parts]
        if len(parts) > 1:
            # Without signs, the chunk is a word that may be written in lower case too: iPhone.
            is_word = _PART.fullmatch(chunk) is not None
            terms.insert(0, self._term(chunk) if is_word else _without_accents(chunk.casefold()))
        return tuple(term for term in terms if term)

    def _term(self, word: str) -> str:
        """The stemmed word without accents; empty for a stop word."""
        word = word.casefold()
        if word in self._stopwords:
            return ""
        if self._stemmer is not None:
            word = self._stemmer.stem_word(word)
        return _without_accents(word)


@lru_cache
def stopwords(language: Language) -> frozenset[str]:
    """The language's stop words, case-folded."""
    if language == "none":
        return frozenset()
    lists = importlib.import_module("bm25s.stopwords")
    return frozenset(word.casefold() for word in getattr(lists, _STOPWORDS[language]))


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for start in range(len(run) - 1):
        yield run[start : start + 2]


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", _ACCENTS.sub(r"\1", unicodedata.normalize("NFD", word)))
