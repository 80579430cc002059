"""The connection variables for pg_dump, and reading a table's rows from pg_restore's output."""

import asyncio

import pytest

from deployments.domain.errors import BackupFailed
from serve_app.operations.backup.pg_tools import environment
from serve_app.operations.backup.table_rows import table_rows


def connection_variables(dsn: str, **environ: str) -> dict[str, str]:
    return {
        name: value
        for name, value in environment(dsn, {"DATABASE_URL": dsn, **environ}).items()
        if name.startswith("PG") or name == "DATABASE_URL"
    }


def test_connection_url_becomes_variables() -> None:
    assert connection_variables(
        "postgresql://u%40x:p%3Aw%2F@db.example.org:5433/my%20db?sslmode=require"
    ) == {
        "PGUSER": "u@x",
        "PGPASSWORD": "p:w/",
        "PGHOST": "db.example.org",
        "PGPORT": "5433",
        "PGDATABASE": "my db",
        "PGSSLMODE": "require",
    }


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("u@a:1,b:2/d", "a,b", "1,2"),
        ("u@a,b:2/d", "a,b", ",2"),
        ("u@[::1]:7/d", "::1", "7"),
        ("u@[::1]/d", "::1", None),
        ("%2Frun%2Fpg:7/d", "/run/pg", "7"),
        ("u@/d?host=/run/pg&port=7", "/run/pg", "7"),
        ("u@/d?host=a:1,b:2", "a,b", "1,2"),
        ("/d", "/run/postgresql,/var/run/postgresql,/tmp,/private/tmp,localhost", None),
    ],
)
def test_hosts_and_sockets_become_variables(hosts: str, host: str, port: str | None) -> None:
    found = connection_variables(f"postgresql://{hosts}")
    assert (found["PGHOST"], found.get("PGPORT")) == (host, port)


def test_other_parameters_become_session_options() -> None:
    found = connection_variables(
        "postgresql://h/d?search_path=a,%20b&options=-c%20jit%3Doff&sslpassword=x"
    )
    assert found["PGOPTIONS"] == "-c search_path=a,\\ b -c jit=off"


def test_own_pg_variables_apply_only_with_a_configured_url() -> None:
    assert connection_variables("postgresql://h/d", PGPASSWORD="x")["PGPASSWORD"] == "x"
    embedded = environment("postgresql://memex@/memex?host=/s", {"PGPORT": "1", "PGHOST": "h"})
    assert "PGPORT" not in embedded
    assert embedded["PGHOST"] == "/s"
    assert "PGHOST" not in environment(None, {"PGHOST": "h", "DATABASE_URL": "postgresql://h/d"})


def script(*parts: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for part in parts:
        reader.feed_data(part)
    reader.feed_eof()
    return reader


HEAD = b'SET a = 1;\n\nCOPY public.t (id, "key", "a""b") FROM stdin;\n'


class SlowReader(asyncio.StreamReader):
    """Returns one byte for each read."""

    async def read(self, _n: int = -1) -> bytes:
        return await super().read(1)


@pytest.mark.parametrize("rows", [b"", b"1\ta\n", b"1\t\\\\.\n2\t\\.x\n\\N\t.\n"])
@pytest.mark.parametrize("kind", [asyncio.StreamReader, SlowReader])
async def test_rows_end_at_the_end_of_the_table(
    rows: bytes, kind: type[asyncio.StreamReader]
) -> None:
    reader = kind()
    reader.feed_data(HEAD + rows + b"\\.\n\n\nSELECT 1;\n")
    reader.feed_eof()
    found = await table_rows(reader)
    assert found is not None
    assert found[0] == ["id", "key", 'a"b']
    assert b"".join([chunk async for chunk in found[1]]) == rows
    assert reader.at_eof()


async def test_truncated_rows_are_refused() -> None:
    found = await table_rows(script(HEAD, b"1\ta\n"))
    assert found is not None
    with pytest.raises(BackupFailed, match="cut off"):
        [chunk async for chunk in found[1]]


async def test_script_without_the_table_has_no_rows() -> None:
    assert await table_rows(script(b"SET a = 1;\n")) is None
