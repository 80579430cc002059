"""CPU seconds and memory of process trees, by the kind of each process."""

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import psutil

KINDS = (
    "embedder",
    "store",
    "ingress",
    "mcp",
    "reranker",
    "haproxy",
    "postgres",
    "ray",
    "baseline",
    "generator",
)
_REPLICAS = {
    "Embedder": "embedder",
    "MemoryStore": "store",
    "RestIngress": "ingress",
    "McpIngress": "mcp",
    "Reranker": "reranker",
}
# Ray appends the method that the replica runs.
_REPLICA = re.compile(r"ray::ServeReplica:memex(?:-mcp)?:(\w+)")
_CPU_EVERY_S = 1.0
_MEMORY_EVERY_S = 4.0  # less often: the kernel walks all page tables for it


def kind_of(command: Sequence[str], other: str) -> str:
    """The kind of a process, from its command line; `other` if it is none of KINDS."""
    title = command[0] if command else ""
    if replica := _REPLICA.match(title):
        return _REPLICAS.get(replica[1], other)
    program = title.split(":")[0].split("/")[-1]
    return program if program in ("postgres", "haproxy") else other


def tree(roots: Iterable[int]) -> Iterator[psutil.Process]:
    """The processes with these ids, each followed by its descendants."""
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(root)
            yield process
            yield from process.children(recursive=True)


def memory_mib(roots: Iterable[int]) -> float:
    """Memory of the trees together, with shared pages counted once (PSS)."""
    total_kib = 0
    for process in tree(roots):
        with contextlib.suppress(OSError):
            total_kib += _pss_kib(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
    return total_kib / 1024


def _pss_kib(rollup: str) -> int:
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def count(roots: Iterable[int], kind: str) -> int:
    return sum(kind_of(_command(process), "") == kind for process in tree(roots))


class Watch:
    """Measures what the trees below `roots` use while it is entered. Processes that end count until
    at most a second before their end."""

    def __init__(self, roots: Sequence[int], other: str) -> None:
        self._roots = roots
        self._other = other
        self._first: dict[psutil.Process, float] = {}
        self._last: dict[psutil.Process, tuple[str, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak_mib = 0.0
        self.embedders: list[int] = []
        """Their number, each second."""

    def __enter__(self) -> Self:
        self._sample()
        self._first = {process: cpu for process, (_, cpu) in self._last.items()}
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by kind of process."""
        used: dict[str, float] = {}
        for process, (kind, cpu) in self._last.items():
            used[kind] = used.get(kind, 0.0) + cpu - self._first.get(process, 0.0)
        return used

    def _run(self) -> None:
        memory_due = time.monotonic() + _CPU_EVERY_S
        while not self._stop.wait(_CPU_EVERY_S):
            self._sample()
            if time.monotonic() >= memory_due:
                self.peak_mib = max(self.peak_mib, memory_mib(self._roots))
                memory_due = time.monotonic() + _MEMORY_EVERY_S

    def _sample(self) -> None:
        embedders = 0
        for process in tree(self._roots):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                kind = kind_of(_command(process), self._other)
                self._last[process] = (kind, times.user + times.system)
                embedders += kind == "embedder"
        self.embedders.append(embedders)


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command
