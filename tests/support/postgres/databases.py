"""Databases on the tests' Postgres server."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from serve_app.operations.machine.embedded_postgres import EmbeddedPostgres

_numbers = itertools.count()


@asynccontextmanager
async def new(postgres: EmbeddedPostgres, template: str | None = None) -> AsyncIterator[str]:
    """The DSN of a database that is dropped after the block: a copy of `template`, or empty."""
    name = f"test_{next(_numbers)}"
    try:
        yield await create(postgres, name, template)
    finally:
        async with connected(_dsn(postgres, "postgres")) as connection:
            await connection.execute(f"drop database if exists {name} with (force)")


async def create(postgres: EmbeddedPostgres, name: str, template: str | None = None) -> str:
    """Create a database: a copy of `template`, or empty. Returns its DSN."""
    async with connected(_dsn(postgres, "postgres")) as connection:
        option = "" if template is None else f" template {template}"
        await connection.execute(f"create database {name}{option}")
    return _dsn(postgres, name)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def _dsn(postgres: EmbeddedPostgres, database: str) -> str:
    return postgres.dsn.replace("/memex?", f"/{database}?")
