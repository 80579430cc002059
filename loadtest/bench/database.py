"""An embedded Postgres for measurements without the service, with a database for each."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil

from loadtest.bench.baseline import SCHEMA
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres


class Database:
    """The databases of one server, which has the settings that `memex serve` gives its own."""

    def __init__(self, dsn: str, pid: int, models_dir: Path) -> None:
        self.dsn = dsn
        self.pid = pid
        self.models_dir = models_dir

    def fresh(self, name: str) -> str:
        """Create an empty database of this name with the baseline's tables; return its address."""
        dsn = self.dsn.replace("/memex?", f"/{name}?")
        asyncio.run(self._create(name, dsn))
        return dsn

    async def _create(self, name: str, dsn: str) -> None:
        await _execute(self.dsn, f"drop database if exists {name} with (force)")
        await _execute(self.dsn, f"create database {name}")
        await _execute(dsn, SCHEMA)

    def analyze(self, dsn: str) -> None:
        asyncio.run(_execute(dsn, "vacuum analyze"))


@contextlib.contextmanager
def database(root: Path) -> Iterator[Database]:
    folder = DataFolder(root)
    folder.open()
    server = EmbeddedPostgres(folder)
    try:
        server.start()
        yield Database(server.dsn, _postgres_pid(), folder.models)
    finally:
        server.stop()
        folder.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _postgres_pid() -> int:
    """The process id of the server that this process has started."""
    children = psutil.Process().children()
    return next(int(child.pid) for child in children if child.name() == "postgres")
