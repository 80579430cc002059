"""Memories as people write them, of 6 to 48 words (usually about 26), all different.

`sentences.txt` has a paragraph for each part of a memory, with a line for each choice; `-` is an
empty choice. A text's number is spread over all combinations and read as one choice of each part,
so that neighbours differ in most words and no two numbers below `combinations()` give the same
text. mix.lua does the same for the load generator.
"""

import functools
import math
from pathlib import Path

SENTENCES = Path(__file__).with_name("sentences.txt")
_SPREAD = 30_011  # a prime; the same as in mix.lua
_NOTHING = "-"

ROW_TEXTS = 2_000_000
"""How many numbers one measurement may use; those of the next one follow."""


@functools.cache
def parts() -> tuple[tuple[str, ...], ...]:
    paragraphs = SENTENCES.read_text(encoding="utf-8").strip().split("\n\n")
    return tuple(tuple(paragraph.splitlines()) for paragraph in paragraphs)


def combinations() -> int:
    return math.prod(len(choices) for choices in parts())


def text(number: int) -> str:
    """The text with this number."""
    rest = number % combinations()
    for _ in range(2):  # twice with a small factor: Lua's numbers are exact to 2**53 only
        rest = rest * _SPREAD % combinations()
    chosen = []
    for choices in parts():
        rest, choice = divmod(rest, len(choices))
        if choices[choice] != _NOTHING:
            chosen.append(choices[choice])
    # The last two parts are sentences of their own.
    sentences = [part for part in chosen if part.endswith(".")]
    first = " ".join(part for part in chosen if not part.endswith("."))
    return " ".join([f"{first}.", *sentences])
