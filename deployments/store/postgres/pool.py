"""Connections to Postgres: pooled, with pgvector and JSON codecs, their failures raised as
Unavailable."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
from pgvector.asyncpg import register_vector

from deployments.domain.errors import BadSetting, Unavailable
from deployments.store.settings import StoreSettings
from deployments.store.sql import name_of, sql

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Prepare: TypeAlias = Callable[[asyncpg.Connection], Awaitable[object]]
Observe: TypeAlias = Callable[[str, float], None]

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# SQLSTATEs and their classes for which the server, not the statement, is the cause: connection
# exceptions, a rejected user or database, out of resources (too many connections, disk full),
# operator intervention (shutting down, starting up, statement timeout), system error, a read-only
# standby after a failover, and transactions that the server asks to be repeated.
_SERVER_TROUBLE = ("08", "28", "3D", "53", "57", "58", "25006", "40")

# After a failed attempt to open the pool, callers are refused for this long, so that they do not
# queue for the next attempt.
_REOPEN_PAUSE_S = 0.5

# Migrations run here, or wait for another process's. Some rewrite a large table.
_PREPARE_TIMEOUT_S = 24 * 3_600.0

_SESSION = (
    # A filtered index scan continues until enough rows pass the filter (pgvector >= 0.8).
    "set hnsw.iterative_scan = relaxed_order",
    "set hnsw.ef_search = 200",
    # Compiling a statement takes longer than running it.
    "set jit = off",
    # Pages are usually in memory or on solid-state disks.
    "set random_page_cost = 1.1",
    # Plan each statement once: planning takes as long as a search of a small scope. Statements
    # whose best plan depends on their values override this (plan_for_values).
    "set plan_cache_mode = force_generic_plan",
    # A plan made while a table was small must not read the whole table once it is large.
    "set enable_seqscan = off",
)


def is_server_trouble(error: BaseException) -> bool:
    """Whether the server is the cause of the error, not the statement or its arguments."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_SERVER_TROUBLE)
    if isinstance(error, ValueError):
        # Wrong arguments or a wrong address. Some of the driver's InterfaceErrors are ValueErrors.
        return False
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError)


def check_dsn(dsn: str) -> None:
    """Raises BadSetting, without the address in its text, if DATABASE_URL is not a Postgres
    address."""
    try:
        scheme = urlsplit(dsn).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("postgres", "postgresql"):
        raise BadSetting("DATABASE_URL must look like postgresql://user:password@host:5432/name")


async def connect(dsn: str, settings: StoreSettings) -> asyncpg.Connection:
    """One connection without codecs or session settings, for migrations. Raises Unavailable,
    BadSetting."""
    check_dsn(dsn)
    with _failures_as_unavailable():
        try:
            return await asyncpg.connect(dsn, timeout=settings.connect_timeout_s)
        except (ValueError, asyncpg.exceptions.ClientConfigurationError):
            raise BadSetting("DATABASE_URL cannot be read: check its port and options") from None


class Pool:
    """A connection pool that opens at its first use: a replica may start before its database.

    `prepare` (migrations) runs on a separate connection before the pool opens. `observe` is called
    after each statement with the statement's name and its duration in seconds.
    """

    def __init__(
        self,
        dsn: str,
        settings: StoreSettings,
        prepare: Prepare | None = None,
        observe: Observe | None = None,
    ) -> None:
        check_dsn(dsn)
        self._observe = observe
        self._dsn = dsn
        self._settings = settings
        self._prepare = prepare
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._retry_at_s = 0.0

    async def open(self) -> None:
        """Prepare the database and connect. Raises Unavailable, and whatever `prepare` raises."""
        with _failures_as_unavailable():
            await self._open_once()

    async def _open_once(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                if time.monotonic() < self._retry_at_s:
                    raise Unavailable("database", 1.0)
                try:
                    self._pool = await self._prepare_and_connect()
                except Exception:
                    self._retry_at_s = time.monotonic() + _REOPEN_PAUSE_S
                    raise
            return self._pool

    async def _prepare_and_connect(self) -> asyncpg.Pool:
        if self._prepare is not None:
            connection = await connect(self._dsn, self._settings)
            try:
                async with asyncio.timeout(_PREPARE_TIMEOUT_S):
                    await self._prepare(connection)
            finally:
                try:
                    await connection.close(timeout=self._settings.connect_timeout_s)
                except (OSError, TimeoutError):
                    connection.terminate()
        return await asyncpg.create_pool(
            self._dsn,
            min_size=self._settings.min_pool_size,
            max_size=self._settings.max_pool_size,
            timeout=self._settings.connect_timeout_s,
            command_timeout=self._settings.statement_timeout_s,
            init=self._set_up,
            reset=_keep_session,
        )

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection for a few statements. Raises Unavailable, also from within the block."""
        with _failures_as_unavailable():
            pool = self._pool or await self._open_once()
            async with pool.acquire(timeout=self._settings.connect_timeout_s) as connection:
                yield connection

    def sizes(self) -> tuple[int, int]:
        """The number of open connections, and how many of them are idle."""
        if self._pool is None:
            return 0, 0
        return self._pool.get_size(), self._pool.get_idle_size()

    async def _set_up(self, connection: asyncpg.Connection) -> None:
        await _set_up(connection)
        if self._observe is not None:
            connection.add_query_logger(self._observe_statement)

    def _observe_statement(self, record: Any) -> None:
        assert self._observe is not None
        self._observe(name_of(record.query), record.elapsed)

    async def close(self) -> None:
        """Wait for running statements, then close every connection."""
        if self._pool is not None:
            await self._pool.close()


@contextmanager
def _failures_as_unavailable() -> Iterator[None]:
    """Raise Unavailable in place of the driver's many errors for a database that does not
    answer."""
    try:
        yield
    except Exception as error:
        if is_server_trouble(error):
            raise Unavailable("database", 1.0) from error
        raise


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """Replace the driver's RESET ALL at each release, which would undo `_SESSION`. It is not
    needed: no statement of the store changes a session."""


async def _set_up(connection: asyncpg.Connection) -> None:
    schema = await connection.fetchval(*sql.vector_schema())
    await register_vector(connection, schema=schema or "public")
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_json, decoder=json.loads
    )
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=_encode_time,
        decoder=_decode_time,
    )
    for statement in _SESSION:
        await connection.execute(statement)


# The driver's codec stores the first instant of the year 1 as -infinity.
def _encode_time(value: datetime) -> tuple[int]:
    return ((value - _POSTGRES_EPOCH) // _MICROSECOND,)


def _decode_time(value: tuple[int]) -> datetime:
    return _POSTGRES_EPOCH + value[0] * _MICROSECOND


def _encode_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
