"""Runs wrk with mix.lua, and reads its measurements."""

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deployments.domain.errors import StartupError
from loadtest import scenarios, texts
from loadtest.scenarios import Scenario
from serve_app.operations.machine import processes

_SCRIPT = Path(__file__).with_name("mix.lua")
_TIMEOUT_S = 30
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Times:
    """Latency percentiles of answers, in ms."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The answers that the clients of one row got."""

    duration_s: float
    answered: int
    """With 2xx, or with 404 if the row requests a path that does not exist."""
    refused: int
    """With 503."""
    errors: int
    """All other answers, and failed connections."""
    times: Times | None
    """Of the answered; None if there are none."""
    refused_times: Times | None
    """Of the refused; None if there are none."""
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        return self.answered / self.duration_s


def check_installed() -> None:
    if shutil.which("wrk") is None:
        raise StartupError("wrk, the load generator, is missing: apt-get install wrk")


def measure(url: str, scenario: Scenario, row: int, duration_s: int) -> Measured:
    """Run one measurement; its number `row` selects texts that no other measurement uses."""
    with tempfile.TemporaryDirectory(prefix="memex-wrk-") as folder:
        result = Path(folder) / "result.json"
        with running(url, scenario, row, duration_s, result) as process:
            output, _ = process.communicate(timeout=duration_s + _TIMEOUT_S + _PATIENCE_S)
        if process.returncode != 0 or not result.exists():
            lines = output.decode(errors="replace").strip().splitlines()
            cause = lines[-1] if lines else f"exit code {process.returncode}"
            raise StartupError(f"wrk failed: {cause}")
        return parse(json.loads(result.read_text()), scenario)


@contextlib.contextmanager
def running(
    url: str, scenario: Scenario, row: int, duration_s: int, result: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """wrk's process, ended with the block."""
    process = subprocess.Popen(
        command(url, scenario, row, duration_s, result),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # shields it from the terminal's Ctrl-C
        preexec_fn=lambda: processes.die_with_parent(signal.SIGKILL),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def command(
    url: str, scenario: Scenario, row: int, duration_s: int, result: Path
) -> list[str | Path]:
    connections = str(scenario.connections)
    return [
        "wrk",
        *("--threads", connections),  # one for each connection: see mix.lua
        *("--connections", connections),
        *("--duration", f"{duration_s}s"),
        *("--timeout", f"{_TIMEOUT_S}s"),
        *("--script", _SCRIPT),
        url,
        "--",
        scenario.load,
        str(row * texts.ROW_TEXTS),
        str(scenario.different_texts),
        str(scenarios.AGENTS),
        str(scenarios.USERS),
        str(scenarios.BATCH),
        connections,
        texts.SENTENCES,
        result,
    ]


def parse(result: Mapping[str, Any], scenario: Scenario) -> Measured:
    """Read mix.lua's JSON, whose `answers` are status, microseconds, status, microseconds, …"""
    answers = np.array(result["answers"], dtype=np.int64).reshape(-1, 2)
    status, times_us = answers[:, 0], answers[:, 1]
    succeeded = status == 404 if scenario.load == "nothing" else (status >= 200) & (status < 300)
    refused = status == 503
    failed = sum(int(result[name]) for name in ("connect", "read", "write", "timeout"))
    return Measured(
        duration_s=result["duration_us"] / 1e6,
        answered=int(succeeded.sum()),
        refused=int(refused.sum()),
        errors=int((~succeeded & ~refused).sum()) + failed,
        times=_times(times_us[succeeded]),
        refused_times=_times(times_us[refused]),
        statuses={int(code): int((status == code).sum()) for code in np.unique(status)},
    )


def _times(times_us: Sequence[int] | np.ndarray) -> Times | None:
    if len(times_us) == 0:
        return None
    p50, p95, p99 = np.percentile(times_us, (50, 95, 99)) / 1_000
    return Times(float(p50), float(p95), float(p99))
