"""Memories as people write them, of 6 to 48 words (mostly about 26), each of them only once.

`sentences.txt` has the parts of a memory, a paragraph for each, a line for each choice; `-` is
nothing. A text's number is spread over all combinations and read as one choice of each part, so
that neighbours differ in most words and no two numbers below `combinations()` give the same text.
mix.lua does the same for the load generator.
"""

import functools
import math
from pathlib import Path

SENTENCES = Path(__file__).with_name("sentences.txt")
_SPREAD = 30_011  # a prime; mix.lua has it, too
_NOTHING = "-"

ROW_TEXTS = 2_000_000
"""Numbers that one measurement may use; the next one begins after them."""


@functools.cache
def parts() -> tuple[tuple[str, ...], ...]:
    paragraphs = SENTENCES.read_text(encoding="utf-8").strip().split("\n\n")
    return tuple(tuple(paragraph.splitlines()) for paragraph in paragraphs)


def combinations() -> int:
    return math.prod(len(choices) for choices in parts())


def text(number: int) -> str:
    """The text with this number."""
    rest = number % combinations()
    for _ in range(2):  # twice: Lua's numbers are exact to 2**53 only
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
