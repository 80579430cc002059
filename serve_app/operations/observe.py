"""`memex observe`: Prometheus over a running memex, with its alerts, until Ctrl-C."""

import contextlib
import functools
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from deployments.domain.errors import StartupError
from serve_app.operations.http import NoAnswer, get
from serve_app.operations.machine import ports, processes
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.running import api_url
from serve_app.settings import ROOT, Settings

_READY_TIMEOUT_S = 30.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def observe(settings: Settings, preferred_port: int, scrape_every_s: int | None) -> None:
    """Raises StartupError."""
    program = shutil.which("prometheus")
    if program is None:
        raise StartupError(
            "prometheus is not installed; on Debian and Ubuntu: apt install prometheus"
        )
    target = api_url(settings).removeprefix("http://")
    port = ports.free(preferred_port, ())
    with _folder(settings) as folder:
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(target, scrape_every_s)))
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            preexec_fn=functools.partial(processes.die_with_parent, signal.SIGTERM),
        )
        with _ended_by_signals(process) as signals:
            url = f"http://127.0.0.1:{port}"
            if _is_ready(process, url):
                print(f"memex: Prometheus over {target}: {url}/alerts (data: {folder})", flush=True)
                print("memex: Ctrl-C ends it", flush=True)
            code = process.wait()
        if not signals:
            raise StartupError(f"prometheus has ended (code {code}); it said why above")


def _config(target: str, scrape_every_s: int | None) -> dict[str, Any]:
    """The one of configs/ with this service's address; its paths are relative to its own place."""
    configs = ROOT / "configs"
    config: dict[str, Any] = yaml.safe_load((configs / "prometheus.yml").read_text())
    config["rule_files"] = [str(configs / "alerts.yml")]
    config["scrape_configs"] = [
        {"job_name": "memex", "static_configs": [{"targets": [target]}]},
    ]
    if scrape_every_s is not None:
        every = f"{scrape_every_s}s"
        config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    return config


@contextlib.contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    """Within the data folder, so that what was seen stays; where there is none, for this run."""
    if DataFolder(settings.data_dir).is_ours():
        folder = settings.data_dir / "prometheus"
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="memex-prometheus-") as name:
            yield Path(name)


@contextlib.contextmanager
def _ended_by_signals(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Signals are handed on; those that came."""
    came: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        process.terminate()

    before = {number: signal.signal(number, hand_on) for number in _STOP_SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.terminate()
            process.wait()


def _is_ready(process: "subprocess.Popen[bytes]", url: str) -> bool:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(NoAnswer):
            if get(f"{url}/-/ready", timeout_s=1).status == HTTPStatus.OK:
                return True
        time.sleep(0.1)
    return False
