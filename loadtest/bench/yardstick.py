"""How quick the machine is now: what the encoder alone does on all cores, asked again and again.

A machine whose host others use is half as quick from one minute to the next. Two figures compare
only where each is held against the encoder of its own moment.
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
_TEXTS = 4_000  # that an encoder goes round; it remembers none
_START_TIMEOUT_S = 120.0
_PATIENCE_S = 30.0


class Yardstick:
    """One process with one thread for each core, which rest between two looks."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def texts_per_s(self, duration_s: float = 1.0) -> float:
        """On all cores, in batches of 32. By the CPU time that it took: what else runs on the
        machine, a service at rest for one, does not make it less. Raises StartupError."""
        for connection in self._connections:
            connection.send(duration_s)
        return sum(
            _answer(connection, duration_s + _PATIENCE_S) for connection in self._connections
        )


@contextlib.contextmanager
def yardstick(models_dir: Path) -> Iterator[Yardstick]:
    """With the service's model below `models_dir`, made where it is not there. Raises
    StartupError."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in os.sched_getaffinity(0):
            ours, theirs = context.Pipe()
            process = context.Process(target=_measure_when_told, args=(models_dir, theirs))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)  # which ends it
            connections.append(ours)
            _answer(ours, _START_TIMEOUT_S)  # the first one makes the model
        yield Yardstick(connections)


def _answer(connection: Connection, timeout_s: float) -> float:
    try:
        if connection.poll(timeout_s):
            return float(connection.recv())
    except (EOFError, OSError):
        pass
    raise StartupError("the encoder, which the rows are held against, does not answer")


def _measure_when_told(models_dir: Path, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for our parent
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
