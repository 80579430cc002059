"""Child processes: end them with this one, find them again, stop them."""

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
    """Receive this signal when the parent ends. Called in a child before its exec; Linux only."""
    _prctl(_PR_SET_PDEATHSIG, with_signal)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that `descendants` finds all of
    them. Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> list[psutil.Process]:
    """All processes below this one."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def name(process: psutil.Process) -> str:
    """The process's name; empty if it has ended, even if nobody has waited for it yet."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


def end(processes: Iterable[psutil.Process], patience_s: float = PATIENCE_S) -> None:
    """Wait for the processes to end, then terminate, then kill the remaining ones; each step waits
    up to `patience_s`."""
    _, remaining = psutil.wait_procs(list(processes), timeout=patience_s)
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                stop(process)
        _, remaining = psutil.wait_procs(remaining, timeout=patience_s)


def leave(code: int) -> NoReturn:
    """End this process at once, without the exit handlers that libraries registered."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # its reader has closed it
            stream.flush()
    os._exit(code)


_OUR_PROGRAMS = ("python", "raylet", "gcs_server", "haproxy", "postgres")


def using(folder: Path) -> list[psutil.Process]:
    """Other processes of this user (as root: of any user) that run programs of ours and use a file
    below `folder`: they name it in their command line or have it open.

    Ray's processes change their command lines but keep their logs open. Other programs may use a
    log too, such as `tail`; they must not be ended.
    """
    below = f"{folder}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if not _runs_our_program(process):
                continue
            if any(below in part for part in process.cmdline()) or any(
                file.path.startswith(below) for file in process.open_files()
            ):
                found.append(process)
    return found


def _runs_our_program(process: psutil.Process) -> bool:
    return (
        process.pid != os.getpid()
        and (process.uids().real == os.getuid() or os.getuid() == 0)
        and os.path.basename(process.exe()).startswith(_OUR_PROGRAMS)
    )


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
