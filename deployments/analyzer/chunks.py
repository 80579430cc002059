"""Finds the chunks of a text: words and compounds with their signs, Korean words, runs of
characters of scripts without spaces, emoji and other symbols."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import regex

Kind = Literal["words", "korean", "run", "emoji"]

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}\p{{Braille}}--[{_UNSPACED}\p{{Hangul}}]]"
"""A letter, mark or digit of a word, for patterns of regex in version 1."""

# Signs before a word that belong to it: .NET, $PATH, --force, #launch, @mara.
_SIGN = r"(?:(?<![\w.#@$\-])(?P<sign>(?:[.$]|--?)(?={letter})|[#@](?=\w)))?"
# Words joined by signs, with the signs after a name: C++, C#, Disney+, A*, O-.
_WORDS = (
    r"(?P<words>{character}+(?:[_\-./\\:@#+&]+{character}+)*"
    r"(?:\+{{1,2}}(?![\w+=])|#(?![\w#])|(?<={capital})(?<!\w.)[*\-](?![\w*\-]))?)"
)
# An emoji with its skin tone, a flag, a keycap. Joiners make one of several.
_ELEMENT = (
    r"(?:\p{Extended_Pictographic}|\p{Regional_Indicator}{2}|[0-9#*]\u20e3)"
    r"\p{Emoji_Modifier}?[\U000e0020-\U000e007f]*"
)
# Not ASCII signs, and not the lines and boxes that tables are drawn with.
_SYMBOL = r"[[\p{So}\p{Sm}\p{Sc}\p{Emoji_Modifier}]--[\x00-\x7f\p{Braille}\u2500-\u259f]]"

_ASCII_CHUNK = re.compile(
    (_SIGN + _WORDS).format(letter="[A-Za-z]", character="[A-Za-z0-9]", capital="[A-Z]"), re.ASCII
)
_CHUNK = regex.compile(
    rf"(?V1)(?P<emoji>{_ELEMENT}(?:\u200d{_ELEMENT})*|{_SYMBOL})|"
    + _SIGN.format(letter=r"\p{L}")
    + "(?:"
    + _WORDS.format(character=LETTER, capital=r"\p{Lu}")
    + rf"|(?P<korean>\p{{Hangul}}+)|(?P<run>[{_UNSPACED}\p{{M}}]+))"
)


@dataclass(frozen=True, slots=True)
class Chunk:
    kind: Kind
    sign: str
    """The sign before it, or ''."""
    body: str
    """The chunk without this sign."""


def find_chunks(text: str) -> Iterator[Chunk]:
    """The chunks of a text in `one_spelling`, in order."""
    pattern: Any = _ASCII_CHUNK if text.isascii() else _CHUNK
    for match in pattern.finditer(text):
        kind = cast(Kind, match.lastgroup)
        yield Chunk(kind, match["sign"] or "", match[kind])
