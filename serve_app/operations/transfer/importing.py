"""`memex import`: stores a file's memories in a running service, part by part."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from deployments.domain.errors import TransferFailed
from serve_app.operations import stopping
from serve_app.operations.progress import Progress, print_above_bar, progress_bar
from serve_app.operations.transfer.client import Client, Refused
from serve_app.operations.transfer.parts import Part, Parts

_READ_BYTES = 64 * 1024
_RETRY_S = 60.0  # for each part, while the service is busy or a replica of it is missing
_LAYOUT = "importing {percentage:3.0f}% {bar:30} {n_fmt}B/{total_fmt}B [{remaining} left]"
_LAYOUT_OF_STDIN = "importing {n_fmt}B in {elapsed}"


@dataclass(slots=True)
class Result:
    """How many of the file's memories had each outcome."""

    stored: int = 0
    already_there: int = 0
    expired: int = 0
    refused: int = 0
    is_whole: bool = False
    """Whether the file ends with an export's end line."""

    def __str__(self) -> str:
        parts = [f"imported {self.stored:,} memories"]
        for number, outcome in (
            (self.already_there, "existed already"),
            (self.expired, "have expired"),
            (self.refused, "were refused"),
        ):
            if number:
                parts.append(f"{number:,} {outcome}")
        return ", ".join(parts)


def import_file(url: str, agent_id: str, path: str) -> bool:
    """Import a file, or stdin if `path` is `-`; whether no line was refused.

    Raises InvalidInput, TransferFailed.
    """
    client = Client(url)
    with _input(path) as (file, size), _bar(size) as progress:

        def report(number: int, reason: str) -> None:
            print_above_bar(f"line {number}: {reason}")

        result = Result()
        try:
            stopping.run(_import(client, agent_id, file, result, report, progress.add))
        except BaseException:
            if result != Result():
                print_above_bar(str(result))
            raise
    print(f"memex: {result}", flush=True)
    if not result.is_whole and not result.refused:
        print("memex: the file has no end line: if it is an export, it is incomplete")
    return not result.refused


async def _import(
    client: Client,
    agent_id: str,
    file: BinaryIO,
    result: Result,
    report: Callable[[int, str], None],
    on_read: Callable[[int], object],
) -> None:
    async with client:
        parts = Parts()
        for part in parts.read(_chunks(file)):
            answer = (
                await store(client, agent_id, b"\n".join(part.lines)) if any(part.lines) else []
            )
            add(part, answer, result, report)
            result.is_whole = parts.is_whole
            on_read(part.read_bytes)


async def store(client: Client, agent_id: str, lines: bytes) -> list[dict[str, Any]]:
    """Store memories, retrying while the service is busy; the answer's lines.

    Raises Refused, TransferFailed.
    """
    waited_s = 0.0
    while True:
        try:
            return await client.store(agent_id, lines)
        except Refused as error:
            if waited_s >= _RETRY_S:
                raise
            if not error.is_rate_limit:  # a rate limit ends within a minute
                waited_s += error.retry_after_s
            await asyncio.sleep(error.retry_after_s)


def add(
    part: Part,
    answer: list[dict[str, Any]],
    result: Result,
    report: Callable[[int, str], None],
) -> None:
    """Add a part's outcomes to the result; call `report` with each refused line, in order."""
    reasons = part.refused | {part.first - 1 + line["line"]: line["reason"] for line in answer[:-1]}
    for number in sorted(reasons):
        report(number, reasons[number])
    result.refused += len(reasons)
    if answer:
        result.stored += answer[-1]["stored"]
        result.already_there += answer[-1]["already_there"]
        result.expired += answer[-1]["expired"]


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_READ_BYTES):
        yield chunk


@contextmanager
def _input(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file and its size in bytes; None if it is unknown. Raises TransferFailed."""
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
