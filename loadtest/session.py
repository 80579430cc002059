"""Helpers for programs that start others: progress lines, a temporary folder, an orderly end on
signals, their own CPU time."""

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil

RESULTS = Path(__file__).with_name("results")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Progress:
    """Lines on stderr, with the seconds since the start."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._started = time.monotonic()

    def log(self, text: str) -> None:
        elapsed = time.monotonic() - self._started
        print(f"{self._program}: {elapsed:4.0f} s  {text}", file=sys.stderr, flush=True)


def stop_by_signal() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # one is enough: the programs are being stopped
    raise KeyboardInterrupt


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is deleted with the block."""
    root = Path(tempfile.mkdtemp(prefix="mb-"))  # short: the length of socket paths is limited
    if os.geteuid() == 0:
        root.chmod(0o711)  # Postgres then runs as another user, who must reach its folder
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def own_cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = psutil.Process().cpu_times()
    return float(children.ru_utime + children.ru_stime + own.user + own.system)
