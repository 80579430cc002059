"""A real `memex serve`, controlled from outside."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import psutil

from serve_app.operations.machine import ports

NO_LIMITS = {
    "MEMEX_RATE_LIMIT_WRITES_PER_MINUTE": "0",
    "MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE": "0",
}

_START_TIMEOUT_S = 180.0
_PORT = 27_000


class Service:
    """A data folder and the launcher that runs on it."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.port = ports.free(_PORT, ())
        dashboard_port = ports.free(_PORT + 1, (self.port,))
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "MEMEX_DATA_DIR": str(data_dir),
            "MEMEX_PORT": str(self.port),
            "MEMEX_DASHBOARD_PORT": str(dashboard_port),
            **settings,
        }
        self.command = [sys.executable, "-m", "serve_app.cli", "serve"]
        self.environ: Mapping[str, str] = os.environ
        self.working_folder: Path | None = None
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._last_tree: list[psutil.Process] = []

    def launch(self, **settings: str) -> subprocess.Popen[str]:
        """`memex serve` in a process group of its own, as in a terminal."""
        return subprocess.Popen(
            self.command,
            cwd=self.working_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environ, **self.settings, **settings},
            start_new_session=True,
        )

    def start(self) -> None:
        """Launch it; return once it has printed that it is ready."""
        self.lines = []
        self.process = self.launch()
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready.wait(0.1):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError("memex serve did not start:\n" + "".join(self.lines))

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line)
                if "Ctrl-C stops all of it" in line:
                    ready.set()

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def process_tree(self) -> list[psutil.Process]:
        """The launcher and all its descendants."""
        assert self.process is not None
        launcher = psutil.Process(self.process.pid)
        return [launcher, *launcher.children(recursive=True)]

    def replicas(self, deployment: str, application: str = "memex") -> list[psutil.Process]:
        title = f"ray::ServeReplica:{application}:{deployment}"
        return alive(self.process_tree(), lambda process: title in "".join(process.cmdline()))

    def processes_named(self, name: str) -> list[psutil.Process]:
        return alive(self.process_tree(), lambda process: process.name() == name)

    def stop(self, signal_number: signal.Signals = signal.SIGTERM, group: bool = False) -> int:
        """Signal the launcher (or its group) and wait for its exit code.

        `remaining()` then reports which processes of this run still exist.
        """
        assert self.process is not None
        self._last_tree = self.process_tree()
        if group:
            os.killpg(self.process.pid, signal_number)
        else:
            self.process.send_signal(signal_number)
        code = self.process.wait(60)
        self.process = None
        return code

    def remaining(self, timeout_s: float = 0.0) -> list[psutil.Process]:
        """The processes of the last run that still exist after `timeout_s`."""
        _, remaining = psutil.wait_procs(self._last_tree, timeout=timeout_s)
        return alive(remaining, lambda process: process.status() != psutil.STATUS_ZOMBIE)

    def kill(self) -> None:
        """Kill every process, after a test that failed half-way."""
        if self.process is None:
            return
        if self.process.poll() is None:
            for process in reversed(self.process_tree()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()
        self.process = None

    @contextlib.contextmanager
    def running(self) -> Iterator["Service"]:
        """Start it, and stop it at the end as Ctrl-C in a terminal does, which signals the whole
        group; kill it if the block fails."""
        self.start()
        try:
            yield self
            if self.is_running():
                assert self.stop(signal.SIGINT, group=True) == 0, "".join(self.lines)
                assert self.remaining() == []
        finally:
            self.kill()

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=30)


@contextlib.contextmanager
def fresh_service(**settings: str) -> Iterator[Service]:
    """A running service on a data folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="memex-", ignore_cleanup_errors=True) as root,
        Service(Path(root), **settings).running() as service,
    ):
        yield service


def alive(
    processes: list[psutil.Process], condition: Callable[[psutil.Process], bool]
) -> list[psutil.Process]:
    """The processes that exist and satisfy the condition; any may end at any moment."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if condition(process):
                found.append(process)
    return found


def listening_addresses(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """The addresses and TCP ports that the processes listen on."""
    addresses = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    addresses.add((connection.laddr.ip, connection.laddr.port))
    return addresses
