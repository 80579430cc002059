from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.journal import Journal, key_of

RUN = {"data_sha256": "ab", "limit": None}


def _ids(path: Path, fresh: bool = False) -> list[str]:
    with Journal(path, RUN, fresh) as journal:
        return list(journal.records)


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.jsonl"
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q1", "text": "ü\u2028"})
        journal.add({"question_id": "q2"})
    with Journal(path, RUN, False) as journal:
        assert journal.records["q1"]["text"] == "ü\u2028"
        journal.add({"question_id": "q3"})
    assert _ids(path) == ["q1", "q2", "q3"]


def test_half_a_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q1"})
    with path.open("a") as file:
        file.write('{"question_id": "q')
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q2"})
    assert _ids(path) == ["q1", "q2"]


def test_half_a_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"data_')
    assert _ids(path) == []
    assert _ids(path) == []
    assert len(path.read_text().splitlines()) == 1


def test_fresh_forgets(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, RUN, False) as journal:
        journal.add({"question_id": "q1"})
    assert _ids(path, fresh=True) == []
    assert _ids(path) == []


@pytest.mark.parametrize("text", ["x\n", '{"data_sha256": "cd"}\n', '{"a": 1}\n[]\n', "\xff\n"])
def test_other_content_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(EvaluationError, match="--fresh starts it anew"):
        Journal(path, RUN, False)
    assert path.read_text(encoding="latin-1") == text
    assert _ids(path, fresh=True) == []


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, RUN, False), pytest.raises(EvaluationError, match="another run"):
        Journal(path, RUN, True)


def test_the_key_depends_on_the_values_alone() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
