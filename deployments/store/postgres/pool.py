"""Connections to Postgres: pooled, prepared for pgvector and JSON, their failures named once."""

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

# SQLSTATE classes in which the server, not the statement, is the trouble: connection exceptions,
# a user or database that it does not let in, out of resources (too many connections, disk full),
# operator intervention (shutting down, starting up, statement timeout), system error, a read-only
# standby after a failover, and transactions that it asks to be made again.
_SERVER_TROUBLE = ("08", "28", "3D", "53", "57", "58", "25006", "40")

# After a failed attempt callers are refused at once for so long, instead of queueing for the next.
_REOPEN_PAUSE_S = 0.5

# For migrations, ours or those of others that we wait for: some write all of a large table anew.
_PREPARE_TIMEOUT_S = 24 * 3_600.0

_SESSION = (
    # A filtered index scan goes on until enough rows pass the filter (pgvector >= 0.8).
    "set hnsw.iterative_scan = relaxed_order",
    "set hnsw.ef_search = 200",
    # No statement runs as long as compiling it takes.
    "set jit = off",
    # Pages are mostly in memory, or on disks that have no arm to move.
    "set random_page_cost = 1.1",
    # Statements are planned once, not each time, which takes as long as a search of a small scope.
    # What depends on its values asks for a plan of its own.
    "set plan_cache_mode = force_generic_plan",
    # A plan that was made when a table was small must not read all of it when it is large.
    "set enable_seqscan = off",
)


def is_server_trouble(error: BaseException) -> bool:
    """Whether the database is away, as opposed to a statement being wrong."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_SERVER_TROUBLE)
    if isinstance(error, ValueError):
        return (
            False  # of the arguments or the address; the driver has InterfaceErrors for those, too
        )
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError)


def check_dsn(dsn: str) -> None:
    """Raises BadSetting, without the address, where DATABASE_URL is no Postgres address."""
    try:
        scheme = urlsplit(dsn).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("postgres", "postgresql"):
        raise BadSetting("DATABASE_URL must look like postgresql://user:password@host:5432/name")


async def connect(dsn: str, settings: StoreSettings) -> asyncpg.Connection:
    """One plain connection, for migrations. Raises Unavailable, BadSetting."""
    check_dsn(dsn)
    with _named_failures():
        try:
            return await asyncpg.connect(dsn, timeout=settings.connect_timeout_s)
        except (ValueError, asyncpg.exceptions.ClientConfigurationError):
            raise BadSetting("DATABASE_URL cannot be read: look at its port and options") from None


class Pool:
    """A connection pool that opens at its first use: a replica may start before its database.

    `prepare` (migrations) runs on a connection of its own before the pool is first opened.
    `observe` is told of each statement: its name, and the seconds it took.
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
        self._closed_until_s = 0.0

    async def open(self) -> None:
        """Prepare the database and connect. Raises Unavailable and what `prepare` raises."""
        with _named_failures():
            await self._opened()

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                if time.monotonic() < self._closed_until_s:
                    raise Unavailable("database", 1.0)
                try:
                    self._pool = await self._open()
                except Exception:
                    self._closed_until_s = time.monotonic() + _REOPEN_PAUSE_S
                    raise
            return self._pool

    async def _open(self) -> asyncpg.Pool:
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
        with _named_failures():
            pool = self._pool or await self._opened()
            async with pool.acquire(timeout=self._settings.connect_timeout_s) as connection:
                yield connection

    def sizes(self) -> tuple[int, int]:
        """How many connections are open, and how many of them are not in use."""
        if self._pool is None:
            return 0, 0
        return self._pool.get_size(), self._pool.get_idle_size()

    async def _set_up(self, connection: asyncpg.Connection) -> None:
        await _set_up(connection)
        if self._observe is not None:
            connection.add_query_logger(self._ran)

    def _ran(self, record: Any) -> None:
        assert self._observe is not None
        self._observe(name_of(record.query), record.elapsed)

    async def close(self) -> None:
        """Let statements end, then close every connection."""
        if self._pool is not None:
            await self._pool.close()


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turns the driver's many ways to say 'the database is away' into Unavailable."""
    try:
        yield
    except Exception as error:
        if is_server_trouble(error):
            raise Unavailable("database", 1.0) from error
        raise


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """In place of the driver's RESET ALL at each release, which would undo `_SESSION`: no
    statement of ours changes a session."""


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


# The driver's own codec stores the first instant of the year 1 as -infinity.
def _encode_time(value: datetime) -> tuple[int]:
    return ((value - _POSTGRES_EPOCH) // _MICROSECOND,)


def _decode_time(value: tuple[int]) -> datetime:
    return _POSTGRES_EPOCH + value[0] * _MICROSECOND


def _encode_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
