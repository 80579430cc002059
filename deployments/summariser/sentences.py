"""Splits text into sentences, in any script."""

import regex

MAX_CHARACTERS = 400
"""A longer sentence is split at clauses, or else at spaces."""

# Full stops of many scripts end a sentence if a space follows, those of scripts without spaces
# always; closing quotes and brackets belong to the sentence. The end of a line ends one, too.
_SENTENCE_END = regex.compile(
    r"(?V1)(?<=[.!?…؟۔।॥።׃][\p{Pf}\p{Pe}\"'’]*)(?=\s)|(?<=[。！？．｡][\p{Pf}\p{Pe}」』”’]*)(?![\p{Pf}\p{Pe}」』”’])|\n+"
)
# Full stops that do not end a sentence: "e.g. this", "Dr. No", "J. Doe", "3. item", "am 18.02. um".
# If one does end a sentence after all, the two sentences count as one.
_ABBREVIATION = regex.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|mr|mrs|ms|dr|prof|st|vol|fig)|\b\p{Lu}|\b\d{1,2})\.$",
    regex.IGNORECASE,
)
_INITIAL = regex.compile(r"\b\p{Lu}\.$")
_CLAUSE = regex.compile(r"(?<=[;:,，、；：])")
_SPACE = regex.compile(r"(?<=\s)")
_LIST_MARK = regex.compile(r"^(?:[-*•‣–]\s+)")
_WORD = regex.compile(r"[\p{L}\p{N}]")


def sentences(text: str) -> list[str]:
    """The sentences, in order, without surrounding space and list marks, each of at most
    MAX_CHARACTERS characters. Pieces without a letter or digit are left out."""
    whole: list[str] = []
    for line in text.splitlines():
        pending = ""
        for part in _SENTENCE_END.split(_LIST_MARK.sub("", line.strip())):
            pending += part
            if not _ends_with_abbreviation(pending):
                whole.append(pending)
                pending = ""
        whole.append(pending)
    pieces = [piece.strip() for sentence in whole for piece in _split(sentence.strip())]
    return [piece for piece in pieces if _WORD.search(piece)]


def _ends_with_abbreviation(text: str) -> bool:
    stripped = text.strip()
    match = _ABBREVIATION.search(stripped)
    if match is None:
        return False
    # A single letter is an initial only if it is upper case.
    return not match[0][0].isalpha() or len(match[0]) > 2 or bool(_INITIAL.search(stripped))


def _split(sentence: str) -> list[str]:
    """The sentence in pieces of at most MAX_CHARACTERS characters."""
    if len(sentence) <= MAX_CHARACTERS:
        return [sentence]
    for boundary in (_CLAUSE, _SPACE):
        pieces = _joined(boundary.split(sentence))
        if len(pieces) > 1 or len(pieces[0]) <= MAX_CHARACTERS:
            return [part for piece in pieces for part in _split(piece)]
    return [
        sentence[start : start + MAX_CHARACTERS]
        for start in range(0, len(sentence), MAX_CHARACTERS)
    ]


def _joined(parts: list[str]) -> list[str]:
    """The parts, joined to as few pieces as possible of at most MAX_CHARACTERS characters; a longer
    part is a piece of its own."""
    pieces = [""]
    for part in parts:
        if pieces[-1] and len(pieces[-1]) + len(part) > MAX_CHARACTERS:
            pieces.append("")
        pieces[-1] += part
    return pieces
