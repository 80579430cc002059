from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.journal import Journal, key_of

RUN = {"data_sha256": "ab", "limit": None}


def _ids(path: Path, fresh: bool = False) -> list[str]:
    with Journal(path, RUN, fresh) as journal:
        return list(journal.records)


def test_journal_continues_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.jsonl"
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q1", "text": "ü\u2028"})
        journal.add({"question_id": "q2"})
    with Journal(path, RUN, False) as journal:
        assert journal.records["q1"]["text"] == "ü\u2028"
        journal.add({"question_id": "q3"})
    assert _ids(path) == ["q1", "q2", "q3"]


def test_incomplete_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q1"})
    with path.open("a") as file:
        file.write('{"question_id": "q')
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q2"})
    assert _ids(path) == ["q1", "q2"]


def test_incomplete_header_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"data_')
    assert _ids(path) == []
    assert _ids(path) == []
    assert len(path.read_text().splitlines()) == 1


def test_fresh_discards_earlier_records(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q1"})
    assert _ids(path, fresh=True) == []
    assert _ids(path) == []


@pytest.mark.parametrize("text", ["x\n", '{"data_sha256": "cd"}\n', '{"a": 1}\n[]\n', "\xff\n"])
def test_file_with_other_content_is_left_unchanged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(EvaluationError, match="--fresh overwrites it"):
        Journal(path, RUN, False)
    assert path.read_text(encoding="latin-1") == text
    assert _ids(path, fresh=True) == []


def test_concurrent_run_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, RUN, False), pytest.raises(EvaluationError, match="another run"):
        Journal(path, RUN, True)


def test_key_depends_only_on_the_values() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
