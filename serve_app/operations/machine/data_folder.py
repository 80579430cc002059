"""The data folder: its layout, its rights, its lock."""

import fcntl
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path

from deployments.domain.errors import AlreadyRunning, BadSetting, StartupError

# Bytes of a Unix socket's path: the system takes 107, HAProxy wants ten of them for itself.
_MAX_SOCKET_PATH = 97
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+")


class DataFolder:
    """Everything one `memex serve` writes lies below `root`, for the owner's eyes alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.postgres = root / "postgres"
        self.models = root / "models"
        self.logs = root / "logs"
        self.backups = root / "backups"
        self.ray_token = root / "ray_token"
        self.ray_address = root / "ray_address"
        self._lock_file: int | None = None
        # A short name for a long path, the same at each start: what a killed run left is found.
        name = hashlib.sha256(f"{os.geteuid()}:{root}".encode()).hexdigest()[:12]
        self._scratch = Path("/tmp") / f"memex-{name}"  # noqa: S108 (TMPDIR may be long, too)
        self._has_scratch = False

    def open(self) -> None:
        """Create what is missing and lock it. Raises BadSetting, AlreadyRunning."""
        try:
            self._claim()
            self._lock()  # first: its file tells our folder from a stranger's
            for folder in (self.models, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise BadSetting(
                f"MEMEX_DATA_DIR: {self.root} cannot be written to ({error.strerror})"
            ) from None

    def is_ours(self) -> bool:
        """Whether memex has made it its own before."""
        return (self.root / "lock").exists()

    def close(self) -> None:
        """Remove what was for this run alone and let go of the lock."""
        if self._has_scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def socket_folder(self, name: str, longest_socket: str) -> Path:
        """A folder for Unix sockets: below the root, or, where the root's path is too long for
        the system or has characters that HAProxy or Postgres read as something else, in a
        private temporary folder that goes with this run."""
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
            raise StartupError(f"{self._scratch} is in the way: it belongs to someone else")
        self._scratch.chmod(_rights())
        self._has_scratch = True

    def _claim(self) -> None:
        """Make the folder ours, unless it holds what somebody else put there: its rights are
        about to be changed."""
        try:
            self.root.mkdir(parents=True)
        except FileExistsError:
            if not self.is_ours() and any(self.root.iterdir()):
                raise BadSetting(
                    f"MEMEX_DATA_DIR: {self.root} holds other things; name an empty folder or one "
                    "that does not exist yet"
                ) from None
        self.root.chmod(_rights())

    def _lock(self) -> None:
        # The kernel lets go of it however this process ends.
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


def _rights() -> int:
    """Closed to others. As root, Postgres runs as a user of its own, who must pass through."""
    return 0o711 if os.geteuid() == 0 else 0o700
