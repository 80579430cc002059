import json

import pytest

from serve_app.web.jsonl import LineSplitter, end_line, parse_end_line

LINES: list[tuple[bytes, list[bytes | None]]] = [
    (b"", []),
    (b"a", [b"a"]),
    (b"a\n", [b"a"]),
    (b"a\n\nb\r\nc", [b"a", b"", b"b\r", b"c"]),
    (b"\n\n", [b"", b""]),
    (b"12345678\n123456789\n1", [b"12345678", None, b"1"]),
    (b"1234567890" * 50, [None]),
]


@pytest.mark.parametrize("step", [1, 3, 1_000])
@pytest.mark.parametrize(("body", "lines"), LINES)
def test_lines_do_not_depend_on_the_chunks(
    body: bytes, lines: list[bytes | None], step: int
) -> None:
    splitter = LineSplitter(8)
    found: list[bytes | None] = []
    for start in range(0, len(body), step):
        found += splitter.feed(body[start : start + step])
    assert [*found, *splitter.end()] == lines


def test_no_more_than_the_longest_line_is_kept() -> None:
    splitter = LineSplitter(8)
    for _ in range(100):
        assert list(splitter.feed(b"1234567")) == []
        assert len(splitter._line) <= 8


@pytest.mark.parametrize("memories", [0, 7, 1_000_000])
def test_end_line_is_recognised(memories: int) -> None:
    line = end_line(memories)
    assert json.loads(line) == {"end": True, "memories": memories}
    assert parse_end_line(line) == parse_end_line(b" " + line.strip() + b"\r") == memories


def test_end_line_of_another_program_is_recognised() -> None:
    assert parse_end_line(b'{"end":true,"memories":7.0}') == 7


@pytest.mark.parametrize(
    "line",
    [
        b'{"end": true, "memories": 1.5}', b'{"end": true, "memories": Infinity}',
        b"", b"{}", b'{"end"', b'{"end": true}', b'{"end": false, "memories": 1}',
        b'{"end": true, "memories": "1"}', b'{"end": true, "memories": true}',
        b'{"end": 1, "memories": 1}', b'{"end": true, "memories": 1, "more": 1}', b"\xff",
    ],
)  # fmt: skip
def test_other_lines_are_not_taken_for_an_end_line(line: bytes) -> None:
    assert parse_end_line(line) is None
