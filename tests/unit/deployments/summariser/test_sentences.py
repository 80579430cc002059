"""Splitting texts into sentences."""

import pytest

from deployments.summariser.sentences import MAX_CHARACTERS, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I live in Berlin. I moved! Why? Who knows…", 4),
        ("no full stop at all", 1),
        ("我住在北京。我喜欢喝茶！你呢？", 3),
        ("彼は「行く。」と言った。次。", 3),
        ("مرحبا. كيف حالك؟ بخير", 3),
        ("मैं यहाँ हूँ। तुम कहाँ हो?", 2),
        ("one line\nanother line\r\n\n- a third", 3),
        ("Version 3.11 is out, e.g. for Dr. No and J. Doe. It works.", 2),
        ("Am 18.02. um 9 Uhr im 2. Stock. Bitte klingeln.", 2),
        ('He said "go." Then he left.', 2),
        ("(He left.) She stayed.", 2),
        ("", 0),
        (" … ... !!! \n - \n", 0),
    ],
)
def test_text_is_split_into_the_expected_number_of_sentences(text: str, expected: int) -> None:
    assert len(sentences(text)) == expected


def test_only_spaces_and_list_marks_are_dropped() -> None:
    text = "- First, e.g. this. Second!\n* Third: 3. of May. 第四。第五"
    assert "".join(sentences(text)).replace(" ", "") == (
        "First,e.g.this.Second!Third:3.ofMay.第四。第五"
    )


@pytest.mark.parametrize("text", ["word " * 500, "x" * 2_000, "好" * 2_000, "one, two; " * 200])
def test_long_text_without_sentence_ends_is_split(text: str) -> None:
    pieces = sentences(text)
    assert all(len(piece) <= MAX_CHARACTERS for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_list_marks_are_dropped() -> None:
    assert sentences("- buy milk\n• call Ann") == ["buy milk", "call Ann"]
