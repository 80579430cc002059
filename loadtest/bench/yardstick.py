"""Measures the machine's speed now: the rate of the encoder alone on all cores.

If others use the machine's host, its speed can halve from one minute to the next. Then figures are
comparable only in relation to the encoder's rate at their time.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from deployments.domain.errors import StartupError
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings
from loadtest.texts import text
from serve_app.operations.machine import processes

_BATCH = 32
_TEXTS = 4_000  # embedded in rotation; the encoder caches none
_START_TIMEOUT_S = 120.0
_PATIENCE_S = 30.0


class Yardstick:
    """One process with one thread for each core; they are idle between two measurements."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def texts_per_s(self, duration_s: float = 1.0) -> float:
        """The rate on all cores, in batches of 32. Counted by CPU time, so that other programs,
        such as an idle service, do not lower it. Raises StartupError."""
        for connection in self._connections:
            connection.send(duration_s)
        return sum(
            _answer(connection, duration_s + _PATIENCE_S) for connection in self._connections
        )


@contextlib.contextmanager
def yardstick(models_dir: Path) -> Iterator[Yardstick]:
    """Start the processes, with the service's model below `models_dir`, which is created if it
    does not exist. Raises StartupError."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in os.sched_getaffinity(0):
            ours, theirs = context.Pipe()
            process = context.Process(target=_measure_on_request, args=(models_dir, theirs))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)  # which ends the process
            connections.append(ours)
            _answer(ours, _START_TIMEOUT_S)  # the first process creates the model
        yield Yardstick(connections)


def _answer(connection: Connection, timeout_s: float) -> float:
    try:
        if connection.poll(timeout_s):
            return float(connection.recv())
    except (EOFError, OSError):
        pass
    raise StartupError("the encoder that measures the machine's speed does not answer")


def _measure_on_request(models_dir: Path, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent handles the terminal's Ctrl-C
    processes.die_with_parent(signal.SIGKILL)
    encoder = load_encoder(EmbeddingSettings(), models_dir, threads=1)
    texts = [text(number) for number in range(_TEXTS)]
    encoder.encode(texts[:_BATCH], "query")
    connection.send(0.0)
    start = 0
    with contextlib.suppress(EOFError, OSError):
        while True:
            ends = connection.recv() + time.monotonic()
            done, cpu_s = 0, time.process_time()
            while time.monotonic() < ends:
                done += len(encoder.encode(texts[start : start + _BATCH], "query"))
                start = (start + _BATCH) % _TEXTS
            connection.send(done / (time.process_time() - cpu_s))
