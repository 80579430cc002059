"""`memex import`: a file's memories into a running service, in parts that are stored one by one."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from deployments.domain.errors import TransferFailed
from serve_app.operations import stopping
from serve_app.operations.progress import Progress, progress_bar, say
from serve_app.operations.transfer.client import Client, Refused
from serve_app.web.jsonl import MAX_LINE_BYTES, TOO_LONG, LineSplitter, ended

_PART_LINES = 1_000
_PART_BYTES = 512 * 1024
_READ_BYTES = 64 * 1024
_PATIENCE_S = 60.0  # with a service that is busy, or whose parts come and go
_LAYOUT = "importing {percentage:3.0f}% {bar:30} {n_fmt}B/{total_fmt}B [{remaining} left]"
_LAYOUT_OF_STDIN = "importing {n_fmt}B in {elapsed}"


@dataclass(slots=True)
class Part:
    """Some lines of the file, beginning with number `first`, as they are sent; what was refused of
    them already, by line number."""

    first: int
    lines: list[bytes] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    read_bytes: int = 0

    def is_full(self) -> bool:
        return len(self.lines) >= _PART_LINES or self.read_bytes >= _PART_BYTES


@dataclass(slots=True)
class Result:
    """What became of the file's memories."""

    stored: int = 0
    already_there: int = 0
    expired: int = 0
    refused: int = 0
    is_whole: bool = False
    """Whether it ended as an export does."""

    def __str__(self) -> str:
        said = [f"imported {self.stored:,} memories"]
        for number, what in (
            (self.already_there, "were there already"),
            (self.expired, "are over by now"),
            (self.refused, "were refused"),
        ):
            if number:
                said.append(f"{number:,} {what}")
        return ", ".join(said)


def import_file(url: str, agent_id: str, path: str) -> bool:
    """From a path, or from stdin where it is `-`; whether nothing was refused.

    Raises InvalidInput, TransferFailed.
    """
    client = Client(url)
    with _opened(path) as (file, size), _bar(size) as progress:

        def refused(number: int, reason: str) -> None:
            say(f"line {number}: {reason}")

        result = Result()
        try:
            stopping.run(_import(client, agent_id, file, result, refused, progress.add))
        except BaseException:
            if result != Result():
                say(str(result))
            raise
    print(f"memex: {result}", flush=True)
    if not result.is_whole and not result.refused:
        print("memex: there was no line that ends an export: if it is one, it is not whole")
    return not result.refused


async def _import(
    client: Client,
    agent_id: str,
    file: BinaryIO,
    result: Result,
    refused: Callable[[int, str], None],
    done: Callable[[int], object],
) -> None:
    async with client:

        async def send(lines: bytes) -> list[dict[str, Any]]:
            return await stored(client, agent_id, lines)

        for part in parts(_chunks(file), result):
            answer = await send(b"\n".join(part.lines)) if any(part.lines) else []
            add(part, answer, result, refused)
            done(part.read_bytes)


async def stored(client: Client, agent_id: str, lines: bytes) -> list[dict[str, Any]]:
    """The service's answer, waited for while it is busy."""
    waited_s = 0.0
    while True:
        try:
            return await client.store(agent_id, lines)
        except Refused as error:
            if waited_s >= _PATIENCE_S:
                raise
            if not error.is_rate_limit:  # which ends after a minute
                waited_s += error.retry_after_s
            await asyncio.sleep(error.retry_after_s)


def parts(chunks: Iterable[bytes], result: Result) -> Iterator[Part]:
    """The file's lines, each under its number. Lines that end an export are compared with what came
    before them and sent as empty ones, and so are lines that are too long to be sent."""
    splitter, since_end, number = LineSplitter(), 0, 0
    part = Part(1)

    def take(line: bytes | None) -> None:
        nonlocal since_end
        if line is None:
            part.refused[number] = TOO_LONG
            part.read_bytes += MAX_LINE_BYTES
        else:
            part.read_bytes += len(line) + 1
        memories = None if line is None else ended(line)
        if line is None or line.strip():
            result.is_whole = memories == since_end
            if memories not in (None, since_end):
                part.refused[number] = (
                    f"the export that ends here has {memories} memories, "
                    f"but {since_end} lines came before this one"
                )
            since_end = since_end + 1 if memories is None else 0
        part.lines.append(b"" if line is None or memories is not None else line)

    for chunk in chunks:
        for line in splitter.feed(chunk):
            number += 1
            take(line)
            if part.is_full():
                yield part
                part = Part(number + 1)
    for line in splitter.end():
        number += 1
        take(line)
    if part.lines:
        yield part


def add(
    part: Part,
    answer: list[dict[str, Any]],
    result: Result,
    refused: Callable[[int, str], None],
) -> None:
    """Count what became of a part; `refused` is told of its lines in their order."""
    said = part.refused | {part.first - 1 + line["line"]: line["reason"] for line in answer[:-1]}
    for number in sorted(said):
        refused(number, said[number])
    result.refused += len(said)
    if answer:
        result.stored += answer[-1]["stored"]
        result.already_there += answer[-1]["already_there"]
        result.expired += answer[-1]["expired"]


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_READ_BYTES):
        yield chunk


@contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file and its size, None where that is not known. Raises TransferFailed."""
    if path == "-":
        yield sys.stdin.buffer, None
        return
    try:
        with Path(path).expanduser().open("rb") as file:
            yield file, Path(path).expanduser().stat().st_size or None
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise TransferFailed(f"{path} cannot be read ({error.strerror})") from None


def _bar(size: int | None) -> AbstractContextManager[Progress]:
    return progress_bar(_LAYOUT if size else _LAYOUT_OF_STDIN, size, scaled=True)
