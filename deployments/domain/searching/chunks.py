"""Splits a long query into chunks, which are searched one by one.

One embedding of a long text is a mixture of all that the text says, and near to nothing in
particular: it would not find the answer to a question after a page of other text.
"""

import re
from collections.abc import Sequence

MAX_CHUNK_BYTES = 512
"""Of UTF-8. Prose of any script has two bytes or more for each token, so a chunk fits the window of
the default model (254 tokens). Of code, which may not fit, the encoder pools several windows."""
MAX_END_BYTES = 128
"""Of the first and of the last chunk, unless a single sentence is longer. People ask at the ends of
a long text, and a question alone finds its answer better than among other sentences."""

_SENTENCE_END = re.compile(r"(?<=[.!?…؟۔।॥])(?=\s)|(?<=[。！？\n])")
_WORD_END = re.compile(r"(?<=\s)")
_MAX_CHARACTER_BYTES = 4


def chunks_of(text: str) -> tuple[str, ...]:
    """The chunks of a text that is longer than a chunk, in order, none of them twice; empty for any
    other text. A chunk has whole sentences, or words of a sentence that is too long itself."""
    if _size(text) <= MAX_CHUNK_BYTES:
        return ()
    pieces = [piece for piece in _pieces(text) if piece.strip()]
    sizes = [_size(piece) for piece in pieces]
    first = _count(sizes, MAX_END_BYTES)
    end = len(pieces) - _count(sizes[first:][::-1], MAX_END_BYTES)
    middle = []
    start = first
    while start < end:
        stop = start + _count(sizes[start:end], MAX_CHUNK_BYTES)
        middle.append((start, stop))
        start = stop
    edges = [(0, first), *middle, (end, len(pieces))]
    chunks = ["".join(pieces[start:stop]).strip() for start, stop in edges]
    return tuple(dict.fromkeys(chunk for chunk in chunks if chunk))


def _pieces(text: str) -> list[str]:
    """The sentences of the text; of a sentence that is too long, the words, and of a word that is
    too long, parts."""
    step = MAX_CHUNK_BYTES // _MAX_CHARACTER_BYTES
    pieces = []
    for sentence in _SENTENCE_END.split(text):
        if _size(sentence) <= MAX_CHUNK_BYTES:
            pieces.append(sentence)
            continue
        for word in _WORD_END.split(sentence):
            pieces += [word[start : start + step] for start in range(0, len(word), step)]
    return pieces


def _count(sizes: Sequence[int], max_bytes: int) -> int:
    """How many of the first sizes add up to at most `max_bytes`; at least one, if there is any."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > max_bytes:
            return max(1, count)
    return len(sizes)


def _size(text: str) -> int:
    return len(text.encode())
