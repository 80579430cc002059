"""`memex export`: writes an agent's memories to a file, which gets its name when it is complete."""

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
from serve_app.web.jsonl import LineSplitter, parse_end_line

_LAYOUT = "exporting {bar:30} {n_fmt}/{total_fmt} [{remaining} left]"


def export(url: str, agent_id: str, user_id: str | None, to: str) -> None:
    """Export to a path, or to stdout if `to` is `-`. Raises InvalidInput, TransferFailed."""
    client = Client(url)
    with _output(to) as file:
        memories = stopping.run(_export(client, agent_id, user_id, file))
    where = "stdout" if to == "-" else to
    print(f"memex: exported {memories:,} memories to {where}", file=sys.stderr)


async def _export(client: Client, agent_id: str, user_id: str | None, file: BinaryIO) -> int:
    async with client, client.export(agent_id, user_id) as source:
        return await copy(source, file)


async def copy(source: Export, file: BinaryIO) -> int:
    """Write the export to the file; its number of memories. Raises TransferFailed if it does not
    end with an end line, or the count there is another."""
    splitter, memories, end = LineSplitter(), 0, None
    with progress_bar(_LAYOUT, source.total) as progress:
        try:
            async for chunk in source.chunks:
                file.write(chunk)
                for line in splitter.feed(chunk):
                    end = None if line is None else parse_end_line(line)
                    memories += end is None
                progress.show(memories)
        except httpx2.HTTPError:
            end = None
    file.flush()
    if end != memories or any(splitter.end()):
        raise TransferFailed(
            f"the export broke off after {memories:,} of {source.total:,} memories: try again"
        )
    return memories


@contextmanager
def _output(to: str) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `to` after the block; if that fails it is deleted."""
    if to == "-":
        try:
            yield sys.stdout.buffer
        except BrokenPipeError:
            # So that the flush at exit does not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise TransferFailed("stdout was closed before the export ended") from None
        return
    path = Path(to).expanduser().resolve()
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:  # a device or a pipe, which must not be replaced
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
        raise TransferFailed(f"{to} cannot be written to ({error.strerror})") from None
