"""A file with a line for each finished question, from which a stopped run continues."""

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any, Self

from evaluation.errors import EvaluationError

Record = dict[str, Any]


class Journal:
    """Finished questions by id. The first line of the file identifies their run."""

    def __init__(self, path: Path, identity: Record, fresh: bool) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fresh:
                self._file.truncate(0)
            self._read(identity)
        except BlockingIOError:
            self._file.close()
            raise EvaluationError(f"another run is writing to {path}") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Record a finished question."""
        self.records[record["question_id"]] = record
        self._write(record)

    def _read(self, identity: Record) -> None:
        self._file.seek(0)
        try:
            text = self._file.read()
            whole = text[: text.rfind("\n") + 1]  # a killed run may have left half a line
            if whole != text:
                self._file.truncate(len(whole.encode()))
            header, *records = map(json.loads, whole.splitlines()) if whole else [identity]
            self.records = {record["question_id"]: record for record in records}
        except (ValueError, TypeError, KeyError):
            raise EvaluationError(f"{self.path} is damaged; --fresh overwrites it") from None
        if header != identity:
            raise EvaluationError(f"{self.path} belongs to another run; --fresh overwrites it")
        if not whole:
            self._write(identity)

    def _write(self, record: Record) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def key_of(identity: Record) -> str:
    """A short name for a run, from its data, settings and service."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
