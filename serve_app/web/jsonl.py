"""Memories as JSON Lines: how the lines are told apart, and which one says that they are whole."""

import json
from collections.abc import Iterator

import pydantic_core

MEDIA_TYPE = "application/x-ndjson"
MAX_LINE_BYTES = 1024 * 1024
"""As much as a request that stores one memory may have."""

TOO_LONG = f"the line is longer than {MAX_LINE_BYTES} bytes"


class LineSplitter:
    """Chunks of bytes to lines without their ends; None stands for one that is too long, of which
    no more is kept than a line may have."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._grow(end)
            yield self._taken()
        self._grow(rest)

    def end(self) -> Iterator[bytes | None]:
        """The last line, where nothing ends it."""
        if self._line or self._is_too_long:
            yield self._taken()

    def _grow(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._max_bytes:
            self._is_too_long = True
            self._line.clear()
        elif not self._is_too_long:
            self._line += part

    def _taken(self) -> bytes | None:
        line = None if self._is_too_long else bytes(self._line)
        self._line.clear()
        self._is_too_long = False
        return line


def end_line(memories: int) -> bytes:
    """The last line of an export, by which a reader knows that nothing is missing."""
    return json.dumps({"end": True, "memories": memories}).encode() + b"\n"


def ended(line: bytes) -> int | None:
    """How many memories an export's last line speaks of; None of any other line."""
    if not line.lstrip().startswith(b'{"end"'):
        return None
    try:
        value = pydantic_core.from_json(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() != {"end", "memories"}:
        return None
    memories = value["memories"]
    return memories if value["end"] is True and type(memories) is int else None
