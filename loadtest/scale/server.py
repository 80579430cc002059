"""The embedded Postgres with more memory than `memex serve` gives it."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from deployments.domain.errors import StartupError
from serve_app.local import processes
from serve_app.local.folders import DataFolder
from serve_app.local.postgres import EmbeddedPostgres, _as_user

_START_TIMEOUT_S = 300.0  # after a crash, all of a load's log may have to be read again


class LargePostgres(EmbeddedPostgres):
    """Takes further settings. Those of `memex serve` stay where none is named."""

    def __init__(self, folder: DataFolder, options: dict[str, str]) -> None:
        super().__init__(folder)
        self._options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "log_timezone": "UTC",
            "timezone": "UTC",
        } | options

    def _run(self) -> None:
        settings = [
            part for name, value in self._options.items() for part in ("-c", f"{name}={value}")
        ]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self._cluster, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: processes.die_with_parent(signal.SIGINT),
                **_as_user(self._user),
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._server.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.1)
        raise StartupError(f"Postgres did not start; {self._log} says why")

    def _answers(self) -> bool:
        try:
            asyncio.run(self._ensure_database())
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        return True


@contextlib.contextmanager
def postgres(root: Path, options: dict[str, str]) -> Iterator[str]:
    """Its address."""
    folder = DataFolder(root)
    folder.open()
    server = LargePostgres(folder, options)
    try:
        server.start()
        yield server.dsn
    finally:
        server.stop()
        folder.close()


@contextlib.contextmanager
def data_folder(kept: Path | None) -> Iterator[Path]:
    """The one to keep, or one that goes at the end."""
    if kept is not None:
        yield kept.resolve()
        return
    root = Path(tempfile.mkdtemp(prefix="ms-"))  # short: sockets lie below it
    if os.geteuid() == 0:
        root.chmod(0o711)  # Postgres runs as a user of its own then, who must pass through
    try:
        yield root / "data"
    finally:
        shutil.rmtree(root, ignore_errors=True)
