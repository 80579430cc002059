"""`memex backup` and `memex restore`, as commands."""

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
    connected,
    fill_in,
    held_up,
    listed,
    look,
    pg_dump_waits,
)


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
    """Of which the first has memories."""
    with tempfile.TemporaryDirectory(prefix="memex-test-") as root:
        os.chmod(root, 0o755)  # as root, Postgres runs as a user who has to pass through
        one, other = Path(root) / "one", Path(root) / "other"
        with running(one) as dsn:
            asyncio.run(_migrate_and_fill(dsn))
        yield one, other


@contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """Postgres over the folder, which is locked meanwhile, as it is by `memex serve`."""
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
    await fill_in(dsn)


def test_the_commands(data_dirs: tuple[Path, Path]) -> None:
    one, other = data_dirs
    saved = memex(one, "backup")
    assert (saved.returncode, saved.stderr) == (0, "")
    [dump] = (one / "backups").glob("memex-*.dump")
    assert saved.stdout.startswith(f"memex: backed up 161 memories to {dump} (")

    with running(one) as dsn:  # beside a service
        before = asyncio.run(look(dsn))
        beside = memex(one, "backup", "--to", str(other.parent / "kept"))
        assert beside.returncode == 0, beside.stderr
        assert len(list((other.parent / "kept").iterdir())) == 2
        refused = memex(one, "restore", str(dump), "--replace")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("memex: memex is already running with the data folder")

    taken = memex(other, "restore", str(dump))
    assert (taken.returncode, taken.stderr) == (0, "")
    assert taken.stdout == "memex: restored 161 memories, embedded with fake/words\n"
    with running(other) as dsn:
        assert asyncio.run(look(dsn)) == before
    assert memex(other, "restore", str(dump)).stderr.count("\n") == 1

    dump.write_bytes(dump.read_bytes()[:-1] + b"x")
    damaged = memex(other, "restore", str(dump), "--replace")
    assert damaged.returncode == 1
    assert damaged.stderr.startswith(f"memex: {dump} is damaged")
    assert damaged.stderr.count("\n") == 1


def test_a_configured_database(dsn: str, tmp_path: Path) -> None:
    """Whose address is never said, and whose data folder stays memex's own."""
    asyncio.run(fill_in(dsn))
    secret = dsn.replace("memex@", "memex:secret-word@")
    saved = memex(tmp_path / "data", "backup", DATABASE_URL=secret)
    assert (saved.returncode, saved.stderr) == (0, "")
    [dump] = (tmp_path / "data" / "backups").glob("memex-*.dump")
    refused = memex(tmp_path / "data", "restore", str(dump), DATABASE_URL=secret)
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    taken = memex(tmp_path / "data", "restore", str(dump), "--replace", DATABASE_URL=secret)
    assert (taken.returncode, taken.stderr) == (0, "")
    away = memex(tmp_path, "backup", DATABASE_URL=secret.replace("/test_", "/no_such_"))
    assert (away.returncode, away.stdout) == (1, "")
    assert "secret-word" not in saved.stdout + refused.stderr + taken.stdout + away.stderr
    DataFolder(tmp_path / "data").open()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_backup_that_is_stopped(dsn: str, tmp_path: Path, number: signal.Signals) -> None:
    asyncio.run(_stop_one(dsn, tmp_path, number))


async def _stop_one(dsn: str, folder: Path, number: signal.Signals) -> None:
    async with held_up(dsn):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serve_app.cli", "backup", "--to", str(folder),
            env={**os.environ, "DATABASE_URL": dsn.replace("memex@", "memex:secret-word@")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        await pg_dump_waits(dsn, True)
        [child] = psutil.Process(process.pid).children()
        assert child.name() == "pg_dump"
        assert not any("secret-word" in part for part in child.cmdline())
        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, out) == (130, b"")
        assert err == b"memex: stopped; no backup was written\n"
        assert listed(folder) == set()
        await pg_dump_waits(dsn, False)
