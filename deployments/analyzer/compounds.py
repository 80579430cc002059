"""Takes chunks apart: identifiers, paths, versions, names with signs, emoji of several."""

import re

import regex

from deployments.analyzer.chunks import LETTER

# A word with the signs after it that belong to a name. After a single letter, # always does: F#7.
_NAME = regex.compile(
    rf"(?V1){LETTER}+(?:\+\+|[+#](?!{LETTER})|(?<=(?<!{LETTER})\p{{L}})#|[*\-]$)?"
)
SIGNS = "+#*-"
"""The signs after a name."""

_CASE_BOUNDARY = regex.compile(
    r"(?V1)(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}(?!s\b)\p{Ll})|(?<=\p{L})(?=\p{Nd})|(?<=\p{Nd})(?=\p{L})"
)
_VERSION = re.compile(r"(?<![0-9.])[0-9]+(?:\.[0-9]+)+")
_MAX_VERSION_NUMBERS = 5
_LETTERS_WITH_DOTS = regex.compile(r"\p{L}(?:\.\p{L})+")
_EMOJI_DETAILS = regex.compile(r"[\p{Emoji_Modifier}\u20e3\U000e0020-\U000e007f]")


def names(compound: str) -> list[str]:
    """Its words, with the signs of names: C++ and 17 of C++17. Letters with dots are one word, as
    they are also written: US of U.S."""
    if _LETTERS_WITH_DOTS.fullmatch(compound):
        return [compound.replace(".", "")]
    found: list[str] = _NAME.findall(compound)
    return found


def parts(word: str) -> list[str]:
    """The parts of a word in camel case, or of letters and digits."""
    found: list[str] = _CASE_BOUNDARY.split(word)
    return found


def versions(compound: str) -> list[str]:
    """The versions in a compound and their beginnings, but not the compound itself: 3.11.7 and 3.11
    of python-3.11.7. A number of more than five parts is no version and has no beginnings."""
    found = []
    for version in _VERSION.findall(compound):
        numbers = version.split(".")
        shortest = 2 if len(numbers) <= _MAX_VERSION_NUMBERS else len(numbers)
        found += [".".join(numbers[:count]) for count in range(len(numbers), shortest - 1, -1)]
    return [version for version in found if version != compound]


def emoji(sequence: str) -> list[str]:
    """The emoji of a sequence, without skin tones: 👍 of 👍🏽. One emoji has no parts."""
    found = [_EMOJI_DETAILS.sub("", one) for one in sequence.split("\u200d")]
    return [one for one in found if one and one != sequence]
