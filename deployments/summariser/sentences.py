"""Text to sentences, in any script."""

import regex

LONGEST = 400
"""Characters. What has no full stop for longer than that is parted at a clause, or at a space."""

# Full stops of many scripts end a sentence where a space follows, those of scripts without spaces
# anywhere; closing quotes and brackets belong to it. A line's end ends one, too.
_END = regex.compile(
    r"(?V1)(?<=[.!?…؟۔।॥።׃][\p{Pf}\p{Pe}\"'’]*)(?=\s)|(?<=[。！？．｡][\p{Pf}\p{Pe}」』”’]*)(?![\p{Pf}\p{Pe}」』”’])|\n+"
)
# What reads like an end and is none: "e.g. this", "Dr. No", "J. Doe", "3. item", "am 18.02. um 9";
# two sentences that it leaves together are read as one.
_NO_END = regex.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|mr|mrs|ms|dr|prof|st|vol|fig)|\b\p{Lu}|\b\d{1,2})\.$",
    regex.IGNORECASE,
)
_INITIAL = regex.compile(r"\b\p{Lu}\.$")
_CLAUSE = regex.compile(r"(?<=[;:,，、；：])")
_SPACE = regex.compile(r"(?<=\s)")
_MARKS = regex.compile(r"^(?:[-*•‣–]\s+)")
_WORD = regex.compile(r"[\p{L}\p{N}]")


def sentences(text: str) -> list[str]:
    """In their order, without the space around them and without list marks. What has neither letter
    nor digit is none."""
    whole: list[str] = []
    for line in text.splitlines():
        held = ""
        for part in _END.split(_MARKS.sub("", line.strip())):
            held += part
            if not _is_open(held):
                whole.append(held)
                held = ""
        whole.append(held)
    short = [piece.strip() for sentence in whole for piece in _within(sentence.strip())]
    return [piece for piece in short if _WORD.search(piece)]


def _is_open(text: str) -> bool:
    stripped = text.strip()
    match = _NO_END.search(stripped)
    if match is None:
        return False
    # A single letter is an initial only where it is written as one.
    return not match[0][0].isalpha() or len(match[0]) > 2 or bool(_INITIAL.search(stripped))


def _within(sentence: str) -> list[str]:
    """Pieces of at most LONGEST characters, together the sentence."""
    if len(sentence) <= LONGEST:
        return [sentence]
    for boundary in (_CLAUSE, _SPACE):
        pieces = _joined(boundary.split(sentence))
        if len(pieces) > 1 or len(pieces[0]) <= LONGEST:
            return [part for piece in pieces for part in _within(piece)]
    return [sentence[start : start + LONGEST] for start in range(0, len(sentence), LONGEST)]


def _joined(parts: list[str]) -> list[str]:
    """As few as there can be of at most LONGEST characters, if the parts are no longer."""
    pieces = [""]
    for part in parts:
        if pieces[-1] and len(pieces[-1]) + len(part) > LONGEST:
            pieces.append("")
        pieces[-1] += part
    return pieces
