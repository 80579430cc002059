"""`memex observe`: runs Prometheus with memex's alerts on a running service, until Ctrl-C."""

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
    """Run Prometheus until it ends or a signal stops it. Raises StartupError."""
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
        with _ended_by_signals(process) as received_signals:
            url = f"http://127.0.0.1:{port}"
            if _is_ready(process, url):
                print(f"memex: Prometheus on {target}: {url}/alerts (data: {folder})", flush=True)
                print("memex: Ctrl-C stops it", flush=True)
            code = process.wait()
        if not received_signals:
            raise StartupError(f"prometheus has ended with exit code {code}; see its output above")


def _config(target: str, scrape_every_s: int | None) -> dict[str, Any]:
    """configs/prometheus.yml with this service's address and absolute paths, because the file's own
    are relative to it."""
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
    """A folder in the data folder, which keeps the figures; a temporary one if memex has none."""
    if DataFolder(settings.data_dir).is_ours():
        folder = settings.data_dir / "prometheus"
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="memex-prometheus-") as name:
            yield Path(name)


@contextlib.contextmanager
def _ended_by_signals(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Stop the process on stop signals and after the block. Yields the signals received."""
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        process.terminate()

    handlers = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in handlers.items():
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
