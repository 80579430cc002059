"""Runs Postgres's client programs, pg_dump and pg_restore, as children of this process."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from deployments.domain.errors import BackupFailed
from serve_app.operations.machine import processes
from serve_app.operations.machine.embedded_postgres import program
from serve_app.settings import DATABASE_URL

_STOP_TIMEOUT_S = 10.0
_BUFFER = 1 << 20
_SOCKET = re.compile(r"(/.*)()")
_IPV6 = re.compile(r"\[([^\]]*)\](?::(.*))?")
_NAMED = re.compile(r"([^:]*)(?::(.*))?")
_DEFAULT_HOSTS = "/run/postgresql,/var/run/postgresql,/tmp,/private/tmp,localhost"  # the driver's

# An address's parameters with libpq's variable for each. The driver takes any other parameter as a
# setting of the session, and so does `_libpq`.
_VARIABLES = {
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}
_SECRET_WITHOUT_VARIABLE = "sslpassword"  # noqa: S105 (a name)


def environment(dsn: str | None = None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A child's environment: ours, with the address in libpq's variables, because a list of
    processes would show it among the arguments. Without `dsn` the child needs no server.

    Reads the address as the driver does; under a configured one, our own PG… variables count too.
    """
    configured = bool(environ.get(DATABASE_URL)) and dsn is not None
    base = {
        name: value
        for name, value in environ.items()
        if name != DATABASE_URL and (configured or not name.startswith("PG"))
    }
    return base | {"LC_ALL": "C"} | ({} if dsn is None else _libpq(dsn, base))


def _libpq(dsn: str, configured: dict[str, str]) -> dict[str, str]:
    address = urlsplit(dsn)
    found: dict[str, str] = {}
    session = []
    hosts = ""
    for name, value in parse_qsl(address.query):
        if name == "host":
            hosts = value
        elif name == "options":
            session.append(value)
        elif name in _VARIABLES:
            found[_VARIABLES[name]] = value
        elif name != _SECRET_WITHOUT_VARIABLE:
            escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
            session.append(f"-c {name}={escaped}")
    credentials, at, netloc = address.netloc.partition("@")
    if not at:
        credentials, netloc = "", address.netloc
    user, _, password = credentials.partition(":")
    if netloc:
        found |= _hosts(netloc, unquote)
    elif hosts:
        found |= _hosts(hosts, str)
    elif "PGHOST" not in configured and "PGSERVICE" not in found | configured:
        found["PGHOST"] = _DEFAULT_HOSTS
    parts = {
        "PGUSER": unquote(user),
        "PGPASSWORD": unquote(password),
        "PGDATABASE": unquote(address.path.removeprefix("/")),
        "PGOPTIONS": " ".join(session),
    }
    return found | {name: value for name, value in parts.items() if value}


def _hosts(hosts: str, decode: Callable[[str], str]) -> dict[str, str]:
    names, ports = [], []
    for host in hosts.split(","):
        match = _SOCKET.fullmatch(host) or _IPV6.fullmatch(host) or _NAMED.fullmatch(host)
        name, port = match.groups() if match else (host, "")
        names.append(decode(name))
        ports.append(port or "")
    return {"PGHOST": ",".join(names)} | ({"PGPORT": ",".join(ports)} if any(ports) else {})


class Tool:
    """A running program; keeps its error messages for the exception if it fails."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._errors: list[str] = []

    @property
    def output(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    async def listen(self, on_line: Callable[[str], None] = lambda _line: None) -> None:
        """Read its stderr until it ends. Raises BackupFailed if it fails."""
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            text = line.decode(errors="replace").strip().removeprefix(f"{self._name}: ")
            on_line(text)
            if text.startswith(("error: ", "fatal: ", "detail: server version")):
                self._errors.append(text.partition(": ")[2])
        if await self._process.wait() != 0:
            reason = "; ".join(self._errors[:2]) or f"exit code {self._process.returncode}"
            if "connection to server" in reason:
                # libpq puts the address first and the server's reason last.
                reason = reason.rpartition(" failed: ")[2]
            raise BackupFailed(f"{self._name} failed: {reason}")


@contextlib.asynccontextmanager
async def running(
    name: str, *arguments: str, env: Mapping[str, str], stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[Tool]:
    """The program, stopped when the block ends, however it ends."""
    options: dict[str, Any] = {"preexec_fn": lambda: processes.die_with_parent(signal.SIGTERM)}
    try:
        process = await asyncio.create_subprocess_exec(
            program(name),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            limit=_BUFFER,
            start_new_session=True,  # so that Ctrl-C in a terminal reaches only us; we stop it
            **options,
        )
    except OSError as error:
        raise BackupFailed(f"{name} cannot be run: {error.strerror}") from None
    try:
        yield Tool(name, process)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
