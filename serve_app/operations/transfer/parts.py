"""Splits a file's lines into the parts that an import sends."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from serve_app.web.jsonl import MAX_LINE_BYTES, TOO_LONG, LineSplitter, parse_end_line


@dataclass(slots=True)
class Part:
    """Consecutive lines of the file from number `first`, as they are sent. `refused` has the reason
    for each line that is not sent, by line number."""

    first: int
    lines: list[bytes] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    read_bytes: int = 0


class Parts:
    """Reads one file. Checks an export's end line against the lines before it. Sends end lines and
    lines that are too long as empty lines."""

    def __init__(self, *, max_lines: int = 1_000, max_bytes: int = 512 * 1024) -> None:
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._since_end = 0
        self.is_whole = False
        """Whether the lines so far end with a correct end line."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Part]:
        splitter, number = LineSplitter(), 0
        part = Part(1)
        for chunk in chunks:
            for line in splitter.feed(chunk):
                number += 1
                self._take(line, number, part)
                if len(part.lines) >= self._max_lines or part.read_bytes >= self._max_bytes:
                    yield part
                    part = Part(number + 1)
        for line in splitter.end():
            number += 1
            self._take(line, number, part)
        if part.lines:
            yield part

    def _take(self, line: bytes | None, number: int, part: Part) -> None:
        if line is None:
            part.refused[number] = TOO_LONG
            part.read_bytes += MAX_LINE_BYTES
        else:
            part.read_bytes += len(line) + 1
        memories = None if line is None else parse_end_line(line)
        if line is None or line.strip():
            self.is_whole = memories == self._since_end
            if memories not in (None, self._since_end):
                part.refused[number] = (
                    f"the export that ends here has {memories} memories, "
                    f"but {self._since_end} lines came before this one"
                )
            self._since_end = self._since_end + 1 if memories is None else 0
        part.lines.append(b"" if line is None or memories is not None else line)
