import pytest

from deployments.analyzer import Analyzer

ENGLISH = Analyzer("english")


def forms(text: str) -> set[str]:
    """The forms of a memory's stop words, as in "who 3"."""
    return {term.replace("\t", " ") for term in ENGLISH.of_memory(text).more}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("she left the car", set()),
        ("The car left", {"the 2"}),
        ("Saw The Who live", {"the 2", "the 3", "who 2", "who 3"}),
        ("Ask Will. Will knows", {"will 2", "will 3"}),
        ("Mara: Will called\n- It rained", {"will 2", "it 2"}),
        ("Toured the US", {"us 2", "us 3", "us 4"}),
        ("Toured the U.S. twice", {"us 2", "us 3", "us 4"}),
        ("DO NOT ENTER", {"do 2", "not 2"}),  # all of it is in capitals
        ('Read "it", saw “the who”', {"it 2", "it 3", "the 2", "the 3", "who 2", "who 3"}),
        ("Read 'It', don't wait", {"it 2", "it 3"}),
        ('Read "it now waits"', set()),
        ("I think, I wait", set()),
        ("Vitamin A helps", {"a 2", "a 3"}),
        ("left to be or not", {"to 1", "be 1", "or 1", "not 1"}),
        ("who left? is it late", set()),  # two phrases, of two tokens at most
        ("not now", {"not 1", "now 1"}),
        ("It", {"it 1", "it 2"}),
    ],
)
def test_memory_keeps_names_and_phrases_of_stop_words(text: str, expected: set[str]) -> None:
    assert forms(text) == expected


def test_stop_words_do_not_count_in_the_length_of_a_memory() -> None:
    assert len(ENGLISH.of_memory("Saw The Who in the US").terms) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("where is the car", ["car"]),
        ("tickets for The Who", ["ticket", "the 2", "the 3", "who 2", "who 3"]),
        ("Will the car start", ["car", "start"]),
        ("cars in the US", ["car", "us 2", "us 3", "us 4"]),
        ('cars of "will"', ["car", "will 1", "will 2", "will 3"]),
        ("the who", ["the 1", "the 2", "the 3", "who 1", "who 2", "who 3"]),
        ("IT", ["it 1", "it 2", "it 3", "it 4"]),
        ("?!", []),
    ],
)
def test_query_asks_for_names_or_if_it_has_no_other_words_for_all(
    text: str, expected: list[str]
) -> None:
    assert [term.replace("\t", " ") for term in ENGLISH.of_query(text)] == expected


def test_languages_without_stop_words_have_no_forms() -> None:
    assert Analyzer("none").of_memory("Saw The Who").more == []
