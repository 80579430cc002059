"""What text may be: whether it says anything, and which ids tell one agent or user from another.

Ids are compared by their characters, so two that look the same must be the same: an id is in
Unicode's normal form C and has no space around it, no control character, and no character that
cannot be seen.
"""

import hashlib
import unicodedata

MAX_ID_CHARS = 128
_BREAKS = frozenset({"Cc", "Zl", "Zp"})  # control characters, line and paragraph separators
_FORMAT = "Cf"  # zero-width characters, direction marks, the soft hyphen
_JOINERS = "\u200c\u200d"  # Persian and Indic words and emoji have them inside
# Characters without a glyph whose category does not say so (Default_Ignorable_Code_Point).
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_PATH_STEPS = frozenset({".", ".."})  # HTTP clients resolve them before they send a path
_SPACES_AROUND = "must not begin or end with a space"


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: it is empty, or has only whitespace, control and
    zero-width characters."""
    return all(
        character.isspace()
        or unicodedata.category(character) in _BREAKS
        or _is_invisible(character)
        for character in text
    )


def id_fault(text: str) -> str | None:
    """What is wrong with an id, as the rest of a sentence; None if nothing is."""
    if is_blank(text):
        return "must not be blank"
    if any(unicodedata.category(character) in _BREAKS for character in text):
        return "must not contain control characters or line breaks"
    if text != text.strip():
        return _SPACES_AROUND
    if not unicodedata.is_normalized("NFC", text):
        return "must be in Unicode normal form C (NFC)"
    if _without_invisible(text) != text:
        return "must not contain characters that cannot be seen, such as zero-width spaces"
    return "must not be . or .." if text in _PATH_STEPS else None


def mended_id(text: str) -> str:
    """The id that looks like `text`; if nothing of it can be seen, or it is no id even so, one
    made of its hash."""
    seen = "".join(
        character
        for character in _without_invisible(unicodedata.normalize("NFC", text))
        if unicodedata.category(character) not in _BREAKS
    )
    mended = unicodedata.normalize("NFC", seen).strip()
    if id_fault(mended) or len(mended) > MAX_ID_CHARS:
        return f"id-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return mended


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) == _FORMAT
        or character in _FILLERS
        or _is_variation_selector(character)
    )


def _is_variation_selector(character: str) -> bool:
    return (
        "\ufe00" <= character <= "\ufe0f"
        or "\u180b" <= character <= "\u180f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _without_invisible(text: str) -> str:
    """The text without its invisible characters, except those that writing needs: a joiner between
    two characters of which neither is ASCII, a variation selector after such a one."""
    kept: list[str] = []
    for place, character in enumerate(text):
        if _is_invisible(character):
            if not kept or kept[-1].isascii() or kept[-1].isspace():
                continue
            follows = text[place + 1 : place + 2]
            is_inside = bool(follows) and not (follows.isascii() or follows.isspace())
            if not _is_variation_selector(character) and not (character in _JOINERS and is_inside):
                continue
        kept.append(character)
    return "".join(kept)
