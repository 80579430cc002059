"""Child processes: tied to this one's life, found again, ended."""

import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

PATIENCE_S = 3.0


def die_with_parent(with_signal: signal.Signals) -> None:
    """For a child, before its exec: be sent this signal when the parent ends. Linux only."""
    _prctl(_PR_SET_PDEATHSIG, with_signal)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ended, so that none is lost sight of.
    Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> list[psutil.Process]:
    """All processes below this one."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def name(process: psutil.Process) -> str:
    """Its name, empty where it has ended (which a child that nobody waited for has, too)."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


def end(processes: Iterable[psutil.Process], patience_s: float = PATIENCE_S) -> None:
    """Wait a little for them to end, then ask, then insist."""
    _, left = psutil.wait_procs(list(processes), timeout=patience_s)
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                stop(process)
        _, left = psutil.wait_procs(left, timeout=patience_s)


def leave(code: int) -> NoReturn:
    """End this process at once, without what libraries have registered to be done then."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


_RUN_BY_US = ("python", "raylet", "gcs_server", "haproxy", "postgres")


def using(folder: Path) -> list[psutil.Process]:
    """This user's processes of the kinds we start that name a file below `folder` in their command
    line or hold one open, other than this one. (Ray's change their command lines, but keep their
    logs open; somebody's `tail` of a log is not ours to end.)"""
    below = f"{folder}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if not _is_of_our_kind(process):
                continue
            if any(below in part for part in process.cmdline()) or any(
                file.path.startswith(below) for file in process.open_files()
            ):
                found.append(process)
    return found


def _is_of_our_kind(process: psutil.Process) -> bool:
    return (
        process.pid != os.getpid()
        and (process.uids().real == os.getuid() or os.getuid() == 0)
        and os.path.basename(process.exe()).startswith(_RUN_BY_US)
    )


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
