"""Blank text, and ids that cannot be mistaken for another."""

import pytest

from deployments.domain.text import MAX_ID_CHARS, id_fault, is_blank, mended_id

_FAMILY = "\U0001f469\u200d\U0001f467"
_HEART = "\u2764\ufe0f"
_PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # has a zero-width non-joiner

BLANKS = [
    "",
    "  \n\t ",
    "\u00a0\u3000",
    "\u200b",
    "\ufeff\u2060",
    "\u00ad",
    " \u200e\u200f ",
    "\x00\x1b",
    "\u2028",
    "\u3164",
    "\ufe0f",
    "\u2800",
    "\u034f",
]


@pytest.mark.parametrize("text", BLANKS)
def test_text_without_a_visible_character_is_blank(text: str) -> None:
    assert is_blank(text)
    assert id_fault(text) == "must not be blank"


@pytest.mark.parametrize("text", ["a", " a ", ".", "茶", "❤", _HEART, _FAMILY, "\u200ba", "0"])
def test_text_with_a_visible_character_is_not_blank(text: str) -> None:
    assert not is_blank(text)


@pytest.mark.parametrize(
    "text",
    [
        "ana",
        "ana@example.com",
        "a/b",
        "a b",
        "é",
        "山田　太郎",
        "서울",
        _FAMILY,
        _HEART,
        _PERSIAN,
        "…",
    ],
)
def test_ids_of_every_language_are_accepted(text: str) -> None:
    assert id_fault(text) is None
    assert mended_id(text) == text


@pytest.mark.parametrize(
    ("text", "reason", "mended"),
    [
        (" ana", "space", "ana"),
        ("ana\u3000", "space", "ana"),
        ("ana\u00a0", "space", "ana"),
        ("an\na", "control", "ana"),
        ("ana\x7f", "control", "ana"),
        ("ana\u0085", "control", "ana"),
        ("a\u2028na", "control", "ana"),
        ("e\u0301", "NFC", "é"),
        ("\u212b", "NFC", "Å"),  # the angstrom sign
        ("\u1112\u1161\u11ab", "NFC", "한"),
        ("an\u200ba", "cannot be seen", "ana"),
        ("\u2060ana", "cannot be seen", "ana"),
        ("ana\ufeff", "cannot be seen", "ana"),
        ("an\u00ada", "cannot be seen", "ana"),
        ("an\u200da", "cannot be seen", "ana"),
        ("ana\ufe0f", "cannot be seen", "ana"),
        ("\u202eana", "cannot be seen", "ana"),
        ("ana \u200b", "cannot be seen", "ana"),
        ("e\u200b\u0301", "cannot be seen", "é"),
    ],
)
def test_look_alike_is_refused_and_mended(text: str, reason: str, mended: str) -> None:
    fault = id_fault(text)
    assert fault is not None
    assert reason in fault
    assert mended_id(text) == mended


@pytest.mark.parametrize("text", [*BLANKS, ".", "..", "a" * 200, " .. "])
def test_id_that_nothing_can_mend_becomes_its_hash(text: str) -> None:
    mended = mended_id(text)
    assert mended.startswith("id-")
    assert id_fault(mended) is None
    assert mended == mended_id(text)
    assert mended != mended_id(text + "x")


def test_mended_ids_are_ids() -> None:
    for code in range(0x20000):
        character = chr(code)
        if "\ud800" <= character <= "\udfff":
            continue
        for text in (character, f"a{character}", f"{character}b", f"é{character}é"):
            mended = mended_id(text)
            assert id_fault(mended) is None, repr(text)
            assert len(mended) <= MAX_ID_CHARS
