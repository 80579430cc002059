"""Starts and stops the two measured programs, each as a separate process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import psutil

from deployments.domain.errors import StartupError
from loadtest.processes import tree
from serve_app.operations.http import NoAnswer, get
from serve_app.operations.machine import ports, processes
from serve_app.settings import ROOT

_READY = "memex is ready"
_START_TIMEOUT_S = 240.0
_STOP_TIMEOUT_S = 45.0
_FOREIGN = ("MEMEX_", "RAY_", "BASELINE_", "DATABASE_URL")  # the run must not depend on the shell


@contextlib.contextmanager
def service(folder: Path, env: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run `memex serve` with its data in `folder`; yield its URL and process id.

    Raises StartupError with the last line of its log."""
    port = ports.free(28_000, ())
    settings = {
        "MEMEX_DATA_DIR": str(folder),
        "MEMEX_PORT": str(port),
        "MEMEX_DASHBOARD_PORT": str(ports.free(28_265, (port,))),
        "MEMEX_RATE_LIMIT_WRITES_PER_MINUTE": "0",
        "MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE": "0",
    }
    command = [str(Path(sys.executable).with_name("memex")), "serve"]
    log = folder.with_suffix(".log")
    with _program(command, settings | dict(env), log, signal.SIGINT) as process:
        _wait(process, log, "memex serve", lambda: _READY in log.read_text(errors="replace"))
        yield f"http://127.0.0.1:{port}", process.pid


@contextlib.contextmanager
def baseline(
    workers: int, dsn: str, models_dir: Path, log: Path, is_lean: bool = False
) -> Iterator[tuple[str, int]]:
    """Run the baseline on uvicorn; yield its URL and process id. Raises StartupError."""
    port = ports.free(28_500, ())
    url = f"http://127.0.0.1:{port}"
    settings = {
        "BASELINE_DSN": dsn,
        "BASELINE_MODELS_DIR": str(models_dir),
        "BASELINE_LEAN": "1" if is_lean else "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [
        sys.executable, "-m", "uvicorn", "loadtest.bench.baseline:app", "--factory",
        "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers),
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    with _program(command, settings, log, signal.SIGTERM) as process:
        _wait(process, log, "the baseline", lambda: _answers(f"{url}/health"))
        yield url, process.pid


@contextlib.contextmanager
def _program(
    command: Sequence[str], settings: Mapping[str, str], log: Path, stop: signal.Signals
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment | dict(settings),
            start_new_session=True,  # shields it from the terminal's Ctrl-C
            preexec_fn=lambda: processes.die_with_parent(signal.SIGTERM),
        )
    try:
        yield process
    finally:
        _end(process, stop)


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    descendants: list[psutil.Process] = list(tree([process.pid]))[1:]
    process.send_signal(stop)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    processes.end(descendants)


def _wait(
    process: subprocess.Popen[bytes], log: Path, name: str, is_ready: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            cause = lines[-1] if lines else f"exit code {process.returncode}"
            raise StartupError(f"{name} has ended: {cause}")
        if time.monotonic() > deadline:
            raise StartupError(f"{name} was not ready after {_START_TIMEOUT_S:.0f} s")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return get(url).status == HTTPStatus.OK
    except NoAnswer:
        return False
