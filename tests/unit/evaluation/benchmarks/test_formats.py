import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.formats import read_dataset
from evaluation.errors import FormatError
from tests.support.evaluation.benchmark_files import locomo_sample, longmemeval_entry, turn, write


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.json.gz", "x.jsonl.gz", "x.jsonl.bin"])
def test_longmemeval_is_read_in_every_file_format(tmp_path: Path, name: str) -> None:
    entries = [longmemeval_entry("q1"), longmemeval_entry("q2_abs", "Line\u2028separator?")]
    dataset = read_dataset(write(tmp_path / name, entries))
    assert dataset.benchmark == "LongMemEval"
    assert [question.id for question in dataset.questions] == ["q1", "q2_abs"]
    assert [question.abstention for question in dataset.questions] == [False, True]


def test_longmemeval_entry_is_read(tmp_path: Path) -> None:
    (scope,) = read_dataset(write(tmp_path / "x.json", [longmemeval_entry()])).scopes
    (question,) = scope.questions
    assert question.asked_at == datetime(2023, 6, 23, 7, 31, tzinfo=UTC)
    assert (question.sessions, question.turns, question.late_sessions) == (("a",), ("a:1",), 0)
    last = scope.memories[-1]
    assert last.content == "Lovely bird."
    assert last.created_at == datetime(2023, 5, 2, 11, 30, 1, tzinfo=UTC)
    assert last.metadata == {"session": "a", "turn": "a:2", "role": "assistant"}


def test_copies_of_a_session_share_their_turns(tmp_path: Path) -> None:
    turns = [turn("The key is under the mat.", has_answer=True)]
    entry = longmemeval_entry(
        sessions=(
            ("a", "2023/07/01 (Sat) 10:00", turns),
            ("a", "2023/05/01 (Mon) 10:00", turns),
            ("a", "2023/05/02 (Tue) 10:00", [turn("Something else.", has_answer=True)]),
        )
    )
    (scope,) = read_dataset(write(tmp_path / "x.json", [entry])).scopes
    assert [memory.metadata["turn"] for memory in scope.memories] == ["a:1", "a:1", "a@2:1"]
    (question,) = scope.questions
    assert (question.sessions, question.turns) == (("a",), ("a:1", "a@2:1"))
    assert question.late_sessions == 0  # a copy is early enough
    assert question.asked_at == scope.memories[0].created_at  # not before the evidence


def test_evidence_after_the_question_is_counted(tmp_path: Path) -> None:
    entry = longmemeval_entry(sessions=(("a", "2023/06/23 (Fri) 07:32", [turn("Late.")]),))
    (question,) = read_dataset(write(tmp_path / "x.json", [entry])).questions
    assert question.late_sessions == 1
    assert question.asked_at == datetime(2023, 6, 23, 7, 32, tzinfo=UTC)
    assert question.turns == ()


def test_unstorable_characters_are_replaced(tmp_path: Path) -> None:
    entry = longmemeval_entry(question="a\0b \ud83d c \ud83d\ude00")
    (question,) = read_dataset(write(tmp_path / "x.json", [entry])).questions
    assert question.text == "a\ufffdb \ufffd c \U0001f600"


def test_locomo_sample_is_read(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "locomo10.json", [locomo_sample()]))
    assert dataset.benchmark == "LoCoMo"
    (scope,) = dataset.scopes
    assert [memory.content for memory in scope.memories] == [
        "Ann: Look at this lighthouse! [shares a photo: a tall tower]",
        "Bob: Great trip.",
        "Ann: We saw a harbour trip.",
    ]
    assert scope.empty_turns == 1
    assert scope.memories[1].created_at == datetime(2023, 5, 8, 13, 56, 2, tzinfo=UTC)
    assert scope.memories[1].metadata == {"session": "session_1", "turn": "D1:3", "speaker": "Bob"}
    end = datetime(2023, 6, 9, 0, 5, tzinfo=UTC)
    assert {question.asked_at for question in scope.questions} == {end}
    assert [(q.id, q.type, q.turns, q.asked) for q in scope.questions] == [
        ("talk-1-q1", "single-hop", ("D1:1",), True),
        ("talk-1-q2", "multi-hop", ("D2:1", "D1:1", "D1:3"), True),
        ("talk-1-q3", "open-domain", (), False),
        ("talk-1-q4", "temporal", (), False),
        ("talk-1-q5", "adversarial", (), True),
    ]
    assert scope.questions[1].sessions == ("session_2", "session_1")
    assert not scope.questions[4].answerable


def test_limit_keeps_the_first_questions(tmp_path: Path) -> None:
    samples = [locomo_sample("one"), locomo_sample("two")]
    dataset = read_dataset(write(tmp_path / "x.json", samples))
    assert [question.id for question in dataset.limited(6).questions][4:] == ["one-q5", "two-q1"]
    assert len(dataset.limited(5).scopes) == 1
    assert dataset.limited(None) is dataset


def _without(key: str) -> dict[str, Any]:
    entry = longmemeval_entry("q2")
    del entry[key]
    return entry


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (_without("question_id"), "entry 2: question_id is missing"),
        (_without("question"), "entry 2 (question_id q2): question is missing"),
        (
            longmemeval_entry("q2") | {"question_date": "June"},
            "entry 2 (question_id q2): question_date: 'June' is not a date of this format",
        ),
        (
            longmemeval_entry("q2") | {"haystack_dates": []},
            "entry 2 (question_id q2): has 2 haystack_session_ids, 0 haystack_dates and "
            "2 haystack_sessions; they must be equally many",
        ),
        (
            longmemeval_entry("q2") | {"haystack_sessions": [[], [turn("x"), {"role": "user"}]]},
            "entry 2 (question_id q2): haystack_sessions 2 2: content is missing",
        ),
        (
            longmemeval_entry("q2") | {"haystack_sessions": [[], 5]},
            "entry 2 (question_id q2): haystack_sessions 2: must be a list",
        ),
        (
            longmemeval_entry("q2") | {"answer_session_ids": [5]},
            "entry 2 (question_id q2): answer_session_ids 1: must be text",
        ),
        (5, "entry 2: must be an object"),
        (longmemeval_entry("q1"), "the question q1 occurs twice"),
    ],
)
def test_error_names_the_file_and_the_entry(tmp_path: Path, second: Any, message: str) -> None:
    path = write(tmp_path / "x.json", [longmemeval_entry("q1"), second])
    with pytest.raises(FormatError) as error:
        read_dataset(path)
    assert str(error.value) == f"{path}: {message}"


def _locomo_with(**qa: Any) -> list[dict[str, Any]]:
    sample = locomo_sample()
    sample["qa"][1] |= qa
    return [sample]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            _locomo_with(category=6),
            "entry 1 (sample_id talk-1): qa 2: category: 6 is not one of 1 to 5",
        ),
        (_locomo_with(question=None), "entry 1 (sample_id talk-1): qa 2: question: must be text"),
        (_locomo_with(category=[]), "entry 1 (sample_id talk-1): qa 2: category: [] is not one of"),
        (
            [locomo_sample() | {"conversation": {}}],
            "entry 1 (sample_id talk-1): the conversation has no turns",
        ),
    ],
)
def test_locomo_error_names_the_sample(tmp_path: Path, samples: list[Any], message: str) -> None:
    path = write(tmp_path / "x.json", samples)
    with pytest.raises(FormatError) as error:
        read_dataset(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "has no entries"),
        (b"[]", "has no entries"),
        (b"[{]", "is not JSON"),
        (b'{"a": 1}\n{"a": \n', "line 2: is not JSON"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'[{"a": 1}]', "entry 1: is neither from LongMemEval"),
        (b"\xff\xfe", "is not UTF-8"),
        (gzip.compress(b"[1, 2, 3]", mtime=0)[:-9], "cannot be decompressed"),
        (b"\x1f\x8bno", "cannot be decompressed"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(raw)
    with pytest.raises(FormatError) as error:
        read_dataset(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        read_dataset(tmp_path / "none")


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([longmemeval_entry()]), encoding="utf-8-sig")
    assert len(read_dataset(path).questions) == 1
