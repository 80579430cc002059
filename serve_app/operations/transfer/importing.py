"""`memex import`: a file's memories into a running service, in parts that are stored one by one."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from deployments.domain.errors import TransferFailed
from serve_app.operations import stopping
from serve_app.operations.progress import Progress, progress_bar, say
from serve_app.operations.transfer.client import Client, Refused
from serve_app.operations.transfer.parts import Part, Parts

_READ_BYTES = 64 * 1024
_PATIENCE_S = 60.0  # with a service that is busy, or whose parts come and go
_LAYOUT = "importing {percentage:3.0f}% {bar:30} {n_fmt}B/{total_fmt}B [{remaining} left]"
_LAYOUT_OF_STDIN = "importing {n_fmt}B in {elapsed}"


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
        parts = [f"imported {self.stored:,} memories"]
        for number, what in (
            (self.already_there, "were there already"),
            (self.expired, "have expired"),
            (self.refused, "were refused"),
        ):
            if number:
                parts.append(f"{number:,} {what}")
        return ", ".join(parts)


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
        parts = Parts()
        for part in parts.read(_chunks(file)):
            answer = (
                await stored(client, agent_id, b"\n".join(part.lines)) if any(part.lines) else []
            )
            add(part, answer, result, refused)
            result.is_whole = parts.is_whole
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


def add(
    part: Part,
    answer: list[dict[str, Any]],
    result: Result,
    refused: Callable[[int, str], None],
) -> None:
    """Counts a part's outcomes and calls `refused` with each refused line, in their order."""
    reasons = part.refused | {part.first - 1 + line["line"]: line["reason"] for line in answer[:-1]}
    for number in sorted(reasons):
        refused(number, reasons[number])
    result.refused += len(reasons)
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
