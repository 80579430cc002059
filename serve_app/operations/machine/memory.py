"""The machine's memory, and the share of it in which the embedded Postgres may cache pages."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 1024 * 1024

# Limits of our control group, as a container sees them: version 2, then version 1.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_LEAST_BUFFERS, _MOST_BUFFERS = 128 * MIB, 4096 * MIB


def limit_bytes(limits: Iterable[Path] = _LIMITS) -> int:
    """The machine's memory, or a control group's limit if that is lower."""
    candidates: list[int] = [psutil.virtual_memory().total]
    for limit in limits:
        with contextlib.suppress(OSError, ValueError):  # the file is missing, or it holds "max"
            candidates.append(int(limit.read_text()))
    return min(candidates)


def shared_buffers_mib(memory_bytes: int) -> int:
    """An eighth of the memory, within bounds; Ray, the model and the system's cache need the rest.

    Postgres allocates it as it reads pages, so a small database leaves most of it free.
    """
    return min(max(memory_bytes // 8, _LEAST_BUFFERS), _MOST_BUFFERS) // MIB
