"""Reads one table's rows from pg_restore's output."""

import asyncio
import re
from collections.abc import AsyncIterator

from deployments.domain.errors import BackupFailed

_HEAD = re.compile(rb"COPY .* \((.*)\) FROM stdin;\n")
_END = b"\n\\.\n"  # never in a row, because backslashes are doubled there
_CHUNK = 1 << 20


async def table_rows(
    script: asyncio.StreamReader,
) -> tuple[list[str], AsyncIterator[bytes]] | None:
    """The table's columns and its rows in COPY's text format; None if the script has no table.

    The rows raise BackupFailed if the script ends before they do.
    """
    while line := await script.readline():
        if match := _HEAD.fullmatch(line):
            return [_unquoted(name) for name in match[1].decode().split(", ")], _rows(script)
    return None


async def _rows(script: asyncio.StreamReader) -> AsyncIterator[bytes]:
    held = b"\n"  # ends the COPY line, so that _END is found even if there are no rows
    start = 1
    while chunk := await script.read(_CHUNK):
        held += chunk
        end = held.find(_END)
        if end >= 0:
            yield held[start : end + 1]
            while await script.read(_CHUNK):
                pass
            return
        ready = len(held) - len(_END) + 1  # the rest may be the start of _END
        if ready > start:
            yield held[start:ready]
            held, start = held[ready:], 0
    raise BackupFailed("the backup is cut off")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
