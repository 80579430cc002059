"""Memories as JSON Lines: splits bytes into lines, and writes and reads an export's last line."""

import json
from collections.abc import Iterator

import pydantic_core

MEDIA_TYPE = "application/x-ndjson"
MAX_LINE_BYTES = 1024 * 1024
"""Equal to the limit on a request body that stores one memory."""

TOO_LONG = f"the line is longer than {MAX_LINE_BYTES} bytes"


class LineSplitter:
    """Splits chunks of bytes into lines without their ends. None stands for a line that is too
    long. Keeps at most `max_bytes` of a line."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._append(end)
            yield self._pop_line()
        self._append(rest)

    def end(self) -> Iterator[bytes | None]:
        """The last line, if it has no line end."""
        if self._line or self._is_too_long:
            yield self._pop_line()

    def _append(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._max_bytes:
            self._is_too_long = True
            self._line.clear()
        elif not self._is_too_long:
            self._line += part

    def _pop_line(self) -> bytes | None:
        line = None if self._is_too_long else bytes(self._line)
        self._line.clear()
        self._is_too_long = False
        return line


def end_line(memories: int) -> bytes:
    """The last line of an export, which shows a reader that no line is missing."""
    return json.dumps({"end": True, "memories": memories}).encode() + b"\n"


def parse_end_line(line: bytes) -> int | None:
    """The number of memories in an export's last line; None for any other line."""
    if not line.lstrip().startswith(b'{"end"'):
        return None
    try:
        value = pydantic_core.from_json(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() != {"end", "memories"}:
        return None
    memories = value["memories"]
    if value["end"] is not True or type(memories) not in (int, float) or memories != memories // 1:
        return None
    return int(memories)
