"""The embedded Postgres with more memory than `memex serve` gives it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres

_START_TIMEOUT_S = 300.0  # after a crash, Postgres may have to replay a whole load


class LargePostgres(EmbeddedPostgres):
    """Takes further settings; all others are those of `memex serve`."""

    _start_timeout_s = _START_TIMEOUT_S

    def __init__(self, folder: DataFolder, options: dict[str, str]) -> None:
        super().__init__(folder)
        self._further_options = options

    def _options(self) -> dict[str, str]:
        return super()._options() | self._further_options


@contextlib.contextmanager
def postgres(root: Path, options: dict[str, str]) -> Iterator[str]:
    """Run the server; yield its address."""
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
    """The folder to keep, or a temporary one."""
    if kept is not None:
        yield kept.resolve()
        return
    root = Path(tempfile.mkdtemp(prefix="ms-"))  # short: the length of socket paths is limited
    if os.geteuid() == 0:
        root.chmod(0o711)  # Postgres then runs as another user, who must reach its folder
    try:
        yield root / "data"
    finally:
        shutil.rmtree(root, ignore_errors=True)
