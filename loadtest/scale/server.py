"""The embedded Postgres with more memory than `memex serve` gives it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres

_START_TIMEOUT_S = 300.0  # after a crash, all of a load's log may have to be read again


class LargePostgres(EmbeddedPostgres):
    """Takes further settings. Those of `memex serve` stay where none is named."""

    _start_timeout_s = _START_TIMEOUT_S

    def __init__(self, folder: DataFolder, options: dict[str, str]) -> None:
        super().__init__(folder)
        self._further = options

    def _options(self) -> dict[str, str]:
        return super()._options() | self._further


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
