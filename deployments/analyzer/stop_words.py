"""Stop words, and the forms in which memories keep some: The Who, "It", US; to be or not to be.

A stop word says little and most memories have it, so it is no term. It says much as a name, or in a
phrase of stop words. A memory therefore keeps a stop word

1. as a word, in a phrase of at least three tokens without other words;
2. as a capitalised word;
3. as a name: in capitals, capitalised within a sentence, or quoted without other words;
4. as a name in capitals.

A query for a name asks for the last three forms, a query without other words for all. A later form
is rarer and weighs more, so memories that have a name as a name are found first.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import regex

from deployments.analyzer.spelling import one_spelling

Language = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese",
    "russian", "spanish", "swedish", "turkish",
]  # fmt: skip
"""The languages with both a stemmer and a list of stop words; `none` leaves words unchanged."""

_LISTS = {
    language: f"STOPWORDS_{'EN_PLUS' if language == 'english' else language.upper()}"
    for language in get_args(Language)
    if language != "none"
}
_MISSING = {"english": ["us"]}  # the list has all other pronouns
_FORM = "\t"
_MIN_PHRASE_TOKENS = 3
_ALWAYS_CAPITALISED = "I"
_QUOTED = regex.compile(
    r"[\"“”„«»「『]([^\"“”„«»「」『』\n]{1,60})[\"“”«»」』]|(?<!\w)['‘‚`]([^'‘’`\n]{1,60})['’`](?!\w)"
)
_SENTENCE_ENDS = tuple(".!?…:;。！？-–—•*>#|")
_CLOSING = "\"'”’»)]}_"


@dataclass(frozen=True, slots=True)
class StopWord:
    """A stop word as it is written."""

    forms: tuple[str, str, str, str]
    is_capitalised: bool
    is_in_capitals: bool
    is_first: bool
    """Whether it starts its token."""

    @property
    def as_word(self) -> str:
        return self.forms[0]

    @property
    def as_name(self) -> tuple[str, ...]:
        return self.forms[1 : 3 + self.is_in_capitals]

    @property
    def as_capitalised(self) -> tuple[str, ...]:
        return self.forms[1:2]

    def is_name(self, starts_sentence: bool, is_shouted: bool) -> bool:
        """Whether it is surely a name without quotes. Its token may start a sentence, or the whole
        text be in capitals."""
        if self.is_in_capitals:
            return not is_shouted
        return self.is_capitalised and not (starts_sentence and self.is_first)


Phrase = list[Sequence[StopWord]]
"""The stop words of each of some successive tokens."""


def stop_word(written: str, folded: str, is_first: bool) -> StopWord:
    """The stop word that is `folded` in lower case."""
    one, two, three, four = (f"{folded}{_FORM}{number}" for number in range(1, 5))
    is_capitalised = written[0].isupper() and written != _ALWAYS_CAPITALISED
    is_in_capitals = len(written) > 1 and written.isupper()
    return StopWord((one, two, three, four), is_capitalised, is_in_capitals, is_first)


def shown(term: str) -> str:
    """The term without the number of its form."""
    return term.partition(_FORM)[0]


@lru_cache
def stopwords(language: Language) -> frozenset[str]:
    """The language's stop words, case-folded."""
    if language == "none":
        return frozenset()
    lists = importlib.import_module("bm25s.stopwords")
    words = [*getattr(lists, _LISTS[language]), *_MISSING.get(language, ())]
    return frozenset(one_spelling(word).casefold() for word in words)


def in_phrases(phrases: Sequence[Phrase], has_other_words: bool) -> list[str]:
    """The forms of the stop words of phrases. A memory without other words has only phrases."""
    min_tokens = _MIN_PHRASE_TOKENS if has_other_words else 1
    long = [phrase for phrase in phrases if len(phrase) >= min_tokens]
    return [word.as_word for phrase in long for token in phrase for word in token]


def ends_sentence(token: str) -> bool:
    """Whether the next token starts a sentence, or an item of a list."""
    return token.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def quotations(text: str) -> list[str]:
    """What is between quotes."""
    return [match[1] or match[2] for match in _QUOTED.finditer(text)]
