"""`memex import`: lines are sent in parts, counted, and reported by their number in the file."""

from pathlib import Path
from typing import Any

import pytest

from deployments.domain.errors import TransferFailed
from serve_app.operations.transfer.client import Refused
from serve_app.operations.transfer.importing import Result, add, import_file, store
from serve_app.operations.transfer.parts import Part, Parts
from serve_app.web.jsonl import TOO_LONG, end_line


def read_parts(*chunks: bytes, **bounds: int) -> tuple[list[Part], Parts]:
    parts = Parts(**bounds)
    return list(parts.read(chunks)), parts


def test_parts_know_the_number_of_their_first_line() -> None:
    found, parts = read_parts(b"a\nb", b"b\n\nd\n", b"e\nf\ng", max_lines=3)
    assert [(part.first, part.lines) for part in found] == [
        (1, [b"a", b"bb", b""]), (4, [b"d", b"e", b"f"]), (7, [b"g"]),
    ]  # fmt: skip
    assert sum(part.read_bytes for part in found) == len(b"a\nbb\n\nd\ne\nf\ng\n")
    assert not parts.is_whole


def test_part_size_is_limited() -> None:
    found, _ = read_parts(b"12345678\n1\n123456789012345\n1\n", max_bytes=10)
    assert [len(part.lines) for part in found] == [2, 1, 1]


def test_end_line_is_checked_and_not_sent() -> None:
    (part,), parts = read_parts(b"a\nb\n" + end_line(2))
    assert (part.lines, part.refused, parts.is_whole) == ([b"a", b"b", b""], {}, True)
    (part,), parts = read_parts(b"a\n" + end_line(2) + b"b\n" + end_line(1))
    assert list(part.refused) == [2]
    assert "has 2 memories, but 1 lines" in part.refused[2]
    (part,), parts = read_parts(end_line(0) + b"a\n")
    assert not parts.is_whole


def test_overlong_line_is_refused_before_sending() -> None:
    (first, second), _ = read_parts(b"a\n", b"x" * 600_000, b"x" * 600_000, b"\nb")
    assert first.refused == {2: TOO_LONG}
    assert (first.lines, second.first, second.lines) == ([b"a", b""], 3, [b"b"])


def test_refused_lines_are_reported_in_order_by_file_line_number() -> None:
    result, reports = Result(), []
    part = Part(101, refused={103: "from here"})
    answer: list[dict[str, Any]] = [
        {"line": 1, "reason": "first"}, {"line": 9, "reason": "last"},
        {"stored": 5, "already_there": 2, "expired": 1, "refused": 2, "whole": False},
    ]  # fmt: skip
    add(part, answer, result, lambda number, reason: reports.append((number, reason)))
    assert reports == [(101, "first"), (103, "from here"), (109, "last")]
    assert (result.stored, result.already_there, result.expired, result.refused) == (5, 2, 1, 3)
    assert str(result) == "imported 5 memories, 2 existed already, 1 have expired, 3 were refused"


class BusyClient:
    """A client whose service accepts lines after some refusals."""

    def __init__(self, *refusals: Refused) -> None:
        self._refusals = list(refusals)

    async def store(self, _agent_id: str, _lines: bytes) -> list[dict[str, Any]]:
        if self._refusals:
            raise self._refusals.pop(0)
        return [{"stored": 1}]


async def test_busy_service_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    limited, unavailable = Refused("limited", 50.0, True), Refused("unavailable", 10.0, False)
    client: Any = BusyClient(*[limited] * 5, unavailable)
    assert await store(client, "a", b"x") == [{"stored": 1}]
    assert waits == [50.0] * 5 + [10.0]
    client = BusyClient(*[unavailable] * 20)
    with pytest.raises(Refused, match="unavailable"):
        await store(client, "a", b"x")
    assert len(waits) == 12


@pytest.mark.parametrize("name", ["missing", "folder"])
def test_unreadable_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TransferFailed, match="cannot be read"):
        import_file("http://127.0.0.1:1", "a", str(tmp_path / name))
