"""How much memory there is, and how much of it the embedded Postgres may keep pages in."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 1024 * 1024

# Of the control group that we are in, as a container sees it: version 2, then version 1.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_LEAST_BUFFERS, _MOST_BUFFERS = 128 * MIB, 4096 * MIB


def limit_bytes(limits: Iterable[Path] = _LIMITS) -> int:
    """The machine's memory, or what a control group leaves of it."""
    found: list[int] = [psutil.virtual_memory().total]
    for limit in limits:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it is "max"
            found.append(int(limit.read_text()))
    return min(found)


def shared_buffers_mib(memory_bytes: int) -> int:
    """An eighth of the memory, within bounds: Ray, the model and the system's cache want the rest.

    Postgres takes it up as it reads pages: a small database leaves most of it free.
    """
    return min(max(memory_bytes // 8, _LEAST_BUFFERS), _MOST_BUFFERS) // MIB
