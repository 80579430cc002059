"""The data folder: its layout, modes and lock."""

import fcntl
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path

from deployments.domain.errors import AlreadyRunning, BadSetting, StartupError

# Bytes of a Unix socket's path: the system allows 107, of which HAProxy needs ten for itself.
_MAX_SOCKET_PATH = 97
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+")


class DataFolder:
    """Everything that one `memex serve` writes is below `root`, accessible only to its owner."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.postgres = root / "postgres"
        self.models = root / "models"
        self.logs = root / "logs"
        self.backups = root / "backups"
        self.ray_token = root / "ray_token"
        self.ray_address = root / "ray_address"
        self._lock_file: int | None = None
        # A short name for a long path, always the same, so that a start finds a killed run's files.
        name = hashlib.sha256(f"{os.geteuid()}:{root}".encode()).hexdigest()[:12]
        self._scratch = Path("/tmp") / f"memex-{name}"  # noqa: S108 (TMPDIR may be long, too)
        self._has_scratch = False

    def open(self) -> None:
        """Create what is missing and lock it. Raises BadSetting, AlreadyRunning."""
        try:
            self._claim()
            self._lock()  # first, because the lock file marks the folder as memex's
            for folder in (self.models, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise BadSetting(
                f"MEMEX_DATA_DIR: {self.root} cannot be written to ({error.strerror})"
            ) from None

    def is_ours(self) -> bool:
        """Whether memex has claimed the folder before."""
        return (self.root / "lock").exists()

    def close(self) -> None:
        """Remove this run's temporary files and release the lock."""
        if self._has_scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def socket_folder(self, name: str, longest_socket: str) -> Path:
        """A folder for Unix sockets: below the root, or in this run's private temporary folder if
        the path is too long for the system or has characters special to HAProxy or Postgres."""
        folder = self.root / name
        too_long = len(os.fsencode(folder / longest_socket)) > _MAX_SOCKET_PATH
        if too_long or not _PLAIN_PATH.fullmatch(str(folder)):
            self._make_scratch()
            folder = self._scratch / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _make_scratch(self) -> None:
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        status = self._scratch.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise StartupError(f"{self._scratch} is not a folder of this user: remove it")
        self._scratch.chmod(_mode())
        self._has_scratch = True

    def _claim(self) -> None:
        """Create the folder, or refuse one that holds other files, and set its mode."""
        try:
            self.root.mkdir(parents=True)
        except FileExistsError:
            if not self.is_ours() and any(self.root.iterdir()):
                raise BadSetting(
                    f"MEMEX_DATA_DIR: {self.root} holds other files; name an empty folder or one "
                    "that does not exist yet"
                ) from None
        self.root.chmod(_mode())

    def _lock(self) -> None:
        # The kernel releases the lock however this process ends.
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise AlreadyRunning(
                f"memex is already running with the data folder {self.root} (process {holder}); "
                "stop it, or set another MEMEX_DATA_DIR"
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock_file = descriptor


def _mode() -> int:
    """Closed to others. As root they may pass through it, since Postgres runs as another user."""
    return 0o711 if os.geteuid() == 0 else 0o700
