from datetime import UTC, datetime

import pytest

from evaluation.benchmarks.haystack import Haystack, split

NOON = datetime(2023, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("short", ["short"]),
        (" as it is\n", [" as it is\n"]),
        ("one two three", ["one two", "three"]),
        ("0123456789 x", ["0123456789", "x"]),
        ("0123456789ab cd", ["0123456789", "ab cd"]),
        ("one\n\n\n\n\n\n\n\n\ntwo", ["one", "two"]),
    ],
)
def test_text_is_split_at_whitespace(text: str, pieces: list[str]) -> None:
    assert split(text, 10) == pieces


def test_pieces_keep_the_turn() -> None:
    haystack = Haystack()
    haystack.add("s", "s:1", NOON, "word " * 3_000, {"role": "user"})
    assert [len(memory.content) for memory in haystack.memories] == [7_999, 6_999]
    assert {memory.metadata["turn"] for memory in haystack.memories} == {"s:1"}
    assert (haystack.split_turns, haystack.empty_turns) == (1, 0)


def test_empty_turn_is_skipped_and_counted() -> None:
    haystack = Haystack()
    haystack.add("s", "s:1", NOON, " \n", {"role": "user"})
    assert (haystack.memories, haystack.turns, haystack.empty_turns) == ([], set(), 1)
