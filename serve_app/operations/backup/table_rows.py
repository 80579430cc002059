"""Reads the rows of one table out of what pg_restore prints."""

import asyncio
import re
from collections.abc import AsyncIterator

from deployments.domain.errors import BackupFailed

_HEAD = re.compile(rb"COPY .* \((.*)\) FROM stdin;\n")
_END = b"\n\\.\n"  # no row reads like that: backslashes are doubled
_CHUNK = 1 << 20


async def table_rows(
    script: asyncio.StreamReader,
) -> tuple[list[str], AsyncIterator[bytes]] | None:
    """The table's columns and its rows as COPY takes them; None where the script has no table.

    The rows raise BackupFailed where the script ends among them.
    """
    while line := await script.readline():
        if match := _HEAD.fullmatch(line):
            return [_unquoted(name) for name in match[1].decode().split(", ")], _rows(script)
    return None


async def _rows(script: asyncio.StreamReader) -> AsyncIterator[bytes]:
    held = b"\n"  # the end of the line before them: there may be no rows
    start = 1
    while chunk := await script.read(_CHUNK):
        held += chunk
        end = held.find(_END)
        if end >= 0:
            yield held[start : end + 1]
            while await script.read(_CHUNK):
                pass
            return
        ready = len(held) - len(_END) + 1  # the rest may be the end's beginning
        if ready > start:
            yield held[start:ready]
            held, start = held[ready:], 0
    raise BackupFailed("the backup is cut off")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
