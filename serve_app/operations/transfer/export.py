"""`memex export`: an agent's memories into a file, which has its name only when it is whole."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2

from deployments.domain.errors import TransferFailed
from serve_app.operations import stopping
from serve_app.operations.progress import progress_bar
from serve_app.operations.transfer.client import Client, Export
from serve_app.web.jsonl import LineSplitter, ended

_LAYOUT = "exporting {bar:30} {n_fmt}/{total_fmt} [{remaining} left]"


def export(url: str, agent_id: str, user_id: str | None, to: str) -> None:
    """To a path, or to stdout where it is `-`. Raises InvalidInput, TransferFailed."""
    client = Client(url)
    with _written(to) as file:
        memories = stopping.run(_export(client, agent_id, user_id, file))
    where = "stdout" if to == "-" else to
    print(f"memex: exported {memories:,} memories to {where}", file=sys.stderr)


async def _export(client: Client, agent_id: str, user_id: str | None, file: BinaryIO) -> int:
    async with client, client.export(agent_id, user_id) as begun:
        return await copy(begun, file)


async def copy(begun: Export, file: BinaryIO) -> int:
    """How many memories came. Raises TransferFailed where they do not end as they must."""
    splitter, memories, end = LineSplitter(), 0, None
    with progress_bar(_LAYOUT, begun.total) as progress:
        try:
            async for chunk in begun.chunks:
                file.write(chunk)
                for line in splitter.feed(chunk):
                    end = None if line is None else ended(line)
                    memories += end is None
                progress.show(memories)
        except httpx2.HTTPError:
            end = None
    file.flush()
    if end != memories or any(splitter.end()):
        raise TransferFailed(
            f"the export broke off after {memories:,} of {begun.total:,} memories: try again"
        )
    return memories


@contextmanager
def _written(to: str) -> Iterator[BinaryIO]:
    """A file to write to, that is put in the place of `to` after the block and goes if it fails."""
    if to == "-":
        try:
            yield sys.stdout.buffer
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for its last flush
            raise TransferFailed("stdout was closed before the export's end") from None
        return
    path = Path(to).expanduser().resolve()
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:  # a device or a pipe, which nothing may take the place of
                yield file
            return
        part = path.with_name(f"{path.name}.partial-{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise TransferFailed(f"{to} cannot be written ({error.strerror})") from None
