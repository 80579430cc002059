from hypothesis import given
from hypothesis import strategies as st

from deployments.domain.searching.chunks import MAX_CHUNK_BYTES, MAX_END_BYTES, chunks_of

LINE = "The printer log repeats the same line."
QUESTION = "Which word opens the harbour gate?"


def test_text_that_fits_a_chunk_has_none() -> None:
    assert chunks_of("x" * MAX_CHUNK_BYTES) == ()
    assert chunks_of("") == ()


def test_ends_are_small_chunks_of_whole_sentences() -> None:
    lines = [f"Line {number} of the log says little." for number in range(60)]
    first, *middle, last = chunks_of(" ".join([QUESTION, *lines, "What does line 7 say?"]))
    assert first.startswith(QUESTION)
    assert last.endswith("What does line 7 say?")
    for end in (first, last):
        assert len(end) <= MAX_END_BYTES
    for chunk in middle:
        assert MAX_CHUNK_BYTES - 40 < len(chunk) <= MAX_CHUNK_BYTES or chunk is middle[-1]
        assert chunk.startswith("Line")
        assert chunk.endswith(".")
    assert " ".join([first, *middle, last]) == " ".join([QUESTION, *lines, "What does line 7 say?"])


def test_long_sentence_at_an_end_stays_whole() -> None:
    sentence = "Which " + "very " * 40 + "long question is this?"
    assert chunks_of(f"{LINE} " * 20 + sentence)[-1] == sentence


def test_repeated_chunks_are_left_out() -> None:
    chunks = chunks_of(f"{LINE} " * 60 + QUESTION)
    assert len(chunks) == 3
    assert chunks[-1].endswith(QUESTION)


def test_lines_without_full_stops_are_sentences() -> None:
    text = "\n".join(f"item {number}" for number in range(100))
    assert all(chunk.startswith("item") for chunk in chunks_of(text))


def test_scripts_without_spaces_are_split_at_their_full_stops() -> None:
    chunks = chunks_of("会议改到星期五。" * 50 + "猫叫什么？")
    assert all(chunk.endswith(("。", "？")) for chunk in chunks)
    assert chunks[-1].endswith("猫叫什么？")


@given(st.text(min_size=1), st.integers(1, 2_000))
def test_no_character_is_lost_and_no_chunk_is_too_long(text: str, times: int) -> None:
    text = (text * times)[:8_000]
    chunks = chunks_of(text)
    assert all(0 < len(chunk.encode()) <= MAX_CHUNK_BYTES for chunk in chunks)
    if chunks:
        assert set("".join(text.split())) == set("".join("".join(chunks).split()))
