"""The commands `memex backup` and `memex restore`."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deployments.store.postgres.migrate import migrate, read_migrations
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres
from tests.support.postgres.backups import (
    blocked_pg_dump,
    client_view,
    file_names,
    fill_database,
    until_pg_dump_waits,
)
from tests.support.postgres.databases import connected


def memex(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serve_app.cli", *arguments],
        env={**os.environ, "MEMEX_DATA_DIR": str(data_dir), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def data_dirs() -> Iterator[tuple[Path, Path]]:
    """Two data folders, of which only the first has memories."""
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        os.chmod(root, 0o755)  # if root runs the tests, Postgres runs as a user who must enter it
        filled, empty = Path(root) / "filled", Path(root) / "empty"
        with running_postgres(filled) as dsn:
            asyncio.run(_migrate_and_fill(dsn))
        yield filled, empty


@contextmanager
def running_postgres(data_dir: Path) -> Iterator[str]:
    """The DSN of a Postgres on the folder, which stays locked, as by `memex serve`."""
    folder = DataFolder(data_dir)
    folder.open()
    server = EmbeddedPostgres(folder)
    try:
        server.start()
        yield server.dsn
    finally:
        server.stop()
        folder.close()


async def _migrate_and_fill(dsn: str) -> None:
    async with connected(dsn) as connection:
        await migrate(connection, read_migrations())
    await fill_database(dsn)


def test_backup_and_restore_of_embedded_postgres(data_dirs: tuple[Path, Path]) -> None:
    filled, empty = data_dirs
    backup = memex(filled, "backup")
    assert (backup.returncode, backup.stderr) == (0, "")
    [dump] = (filled / "backups").glob("memex-*.dump")
    assert backup.stdout.startswith(f"memex: backed up 161 memories to {dump} (")

    with running_postgres(filled) as dsn:  # while a service runs
        before = asyncio.run(client_view(dsn))
        online = memex(filled, "backup", "--to", str(filled.parent / "online"))
        assert online.returncode == 0, online.stderr
        assert len(list((filled.parent / "online").iterdir())) == 2
        refused = memex(filled, "restore", str(dump), "--replace")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("memex: memex is already running with the data folder")

    restored = memex(empty, "restore", str(dump))
    assert (restored.returncode, restored.stderr) == (0, "")
    assert restored.stdout == "memex: restored 161 memories, embedded with fake/words\n"
    with running_postgres(empty) as dsn:
        assert asyncio.run(client_view(dsn)) == before
    assert memex(empty, "restore", str(dump)).stderr.count("\n") == 1

    dump.write_bytes(dump.read_bytes()[:-1] + b"x")
    damaged = memex(empty, "restore", str(dump), "--replace")
    assert damaged.returncode == 1
    assert damaged.stderr.startswith(f"memex: {dump} is damaged")
    assert damaged.stderr.count("\n") == 1


def test_backup_and_restore_of_another_database(dsn: str, tmp_path: Path) -> None:
    """No output has the password of `DATABASE_URL`; the data folder can be opened afterwards."""
    asyncio.run(fill_database(dsn))
    secret = dsn.replace("memex@", "memex:secret-word@")
    backup = memex(tmp_path / "data", "backup", DATABASE_URL=secret)
    assert (backup.returncode, backup.stderr) == (0, "")
    [dump] = (tmp_path / "data" / "backups").glob("memex-*.dump")
    refused = memex(tmp_path / "data", "restore", str(dump), DATABASE_URL=secret)
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    restored = memex(tmp_path / "data", "restore", str(dump), "--replace", DATABASE_URL=secret)
    assert (restored.returncode, restored.stderr) == (0, "")
    missing = memex(tmp_path, "backup", DATABASE_URL=secret.replace("/test_", "/no_such_"))
    assert (missing.returncode, missing.stdout) == (1, "")
    outputs = backup.stdout + refused.stderr + restored.stdout + missing.stderr
    assert "secret-word" not in outputs
    DataFolder(tmp_path / "data").open()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_backup_leaves_no_file_and_ends_pg_dump(
    dsn: str, tmp_path: Path, number: signal.Signals
) -> None:
    asyncio.run(_stop_backup(dsn, tmp_path, number))


async def _stop_backup(dsn: str, folder: Path, number: signal.Signals) -> None:
    async with blocked_pg_dump(dsn):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serve_app.cli", "backup", "--to", str(folder),
            env={**os.environ, "DATABASE_URL": dsn.replace("memex@", "memex:secret-word@")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        await until_pg_dump_waits(dsn, True)
        [child] = psutil.Process(process.pid).children()
        assert child.name() == "pg_dump"
        assert not any("secret-word" in part for part in child.cmdline())
        process.send_signal(number)
        stdout, stderr = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, stdout) == (130, b"")
        assert stderr == b"memex: stopped; no backup was written\n"
        assert file_names(folder) == set()
        await until_pg_dump_waits(dsn, False)
