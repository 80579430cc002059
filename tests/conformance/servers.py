"""The two servers under test, as processes of their own."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deployments.domain.errors import StartupError
from loadtest import programs
from serve_app.mcp.asgi import ROUTE
from serve_app.operations.machine import ports, processes
from serve_app.settings import ROOT

_FIRST_PORT = 26_000  # far from the ports of a service that may be running
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10


@contextlib.contextmanager
def product(scratch: Path) -> Iterator[str]:
    """Run `memex serve`; yields its MCP endpoint. Raises StartupError."""
    port = ports.free(_FIRST_PORT, ())
    dashboard = ports.free(_FIRST_PORT + 1, (port,))
    env = {"MEMEX_PORT": str(port), "MEMEX_DASHBOARD_PORT": str(dashboard)}
    with programs.service(scratch / "data", env):
        yield f"http://127.0.0.1:{port}{ROUTE}"


@contextlib.contextmanager
def with_fixtures(scratch: Path) -> Iterator[str]:
    """Run the server of server.py; yields its endpoint. Raises StartupError."""
    port = ports.free(_FIRST_PORT, ())
    log = scratch / "fixtures.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.server", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,  # so that Ctrl-C reaches only this process
            preexec_fn=lambda: processes.die_with_parent(signal.SIGTERM),
        )
    try:
        _wait(process, port, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise StartupError(f"the server with fixtures does not start: {(lines or ['?'])[-1]}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
