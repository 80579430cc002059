"""Reads a benchmark's file as published; its first entry shows which benchmark it is."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evaluation.benchmarks import locomo, longmemeval
from evaluation.benchmarks.dataset import Dataset, Scope
from evaluation.benchmarks.node import Node
from evaluation.errors import FormatError

_GZIP_MAGIC = b"\x1f\x8b"


def read_dataset(path: Path) -> Dataset:
    """The file's scopes and questions, in its order. Raises FormatError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(raw).hexdigest()
    entries = list(_entries(path, _text(path, raw)))
    if not entries:
        raise FormatError(f"{path}: has no entries")
    name, read = _reader_for(entries[0])
    dataset = Dataset(name, path.name, sha256, tuple(read(entry) for entry in entries))
    _check_unique(path, [question.id for question in dataset.questions])
    return dataset


def _reader_for(first: Node) -> tuple[str, Callable[[Node], Scope]]:
    """The benchmark's name, and the function that reads its entries."""
    if longmemeval.is_entry(first):
        return longmemeval.NAME, longmemeval.read_entry
    if locomo.is_sample(first):
        return locomo.NAME, locomo.read_sample
    raise first.fail(
        "is neither from LongMemEval (haystack_sessions) nor from LoCoMo (conversation and qa)"
    )


def _check_unique(path: Path, ids: list[str]) -> None:
    """Refuse an id that occurs twice, since the journal finds questions by their ids."""
    seen = set()
    for id_ in ids:
        if id_ in seen:
            raise FormatError(f"{path}: the question {id_} occurs twice")
        seen.add(id_)


def _text(path: Path, raw: bytes) -> str:
    if raw.startswith(_GZIP_MAGIC):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(f"{path}: cannot be decompressed: {error}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is not UTF-8 at byte {error.start}") from None


def _entries(path: Path, text: str) -> Iterator[Node]:
    """The elements of a JSON list, or the lines of a JSONL file."""
    if text.lstrip()[:1] == "[":
        for number, value in enumerate(_parse(str(path), text), start=1):
            yield Node(value, f"{path}: entry {number}")
        return
    # Not splitlines(), which also splits at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            position = f"{path}: line {number}"
            yield Node(_parse(position, line), position)


def _parse(position: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise FormatError(
            f"{position}: is not JSON: {error.msg} ({line}column {error.colno})"
        ) from None
    except RecursionError:
        raise FormatError(f"{position}: is nested too deeply") from None
