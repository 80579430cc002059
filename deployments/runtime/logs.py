"""The replicas' log lines: their time, and errors without text that may quote a memory.

An error's message may quote a memory: Postgres names the row that it refuses, Python the value that
it cannot use. So only the messages of our own errors are logged; of any other error, its class, its
SQLSTATE or the system's error text if it has one, and the code lines of its traceback.
"""

import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

from deployments.domain.errors import Fault, MemexError

NAME = "ray.serve.memex"  # below ray.serve, so that Serve writes it to its files
_SERVE = "ray.serve"
_ASYNCIO = "asyncio"
_CALL_FAILED = "Request failed."  # Serve's line about any error that a call raises


def install() -> None:
    """Filter the log lines. Call it first in a replica; further calls have no effect."""
    for name in (_SERVE, NAME, _ASYNCIO):
        logger = logging.getLogger(name)
        if not any(isinstance(filter_, _Redaction) for filter_ in logger.filters):
            logger.addFilter(_Redaction())


class _Redaction(logging.Filter):
    """Added to the loggers, not to their handlers, which Serve replaces when it is reconfigured."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if record.name == _SERVE and record.msg == _CALL_FAILED:
            # An answer such as RateLimited, or a failure that the node has logged already.
            if isinstance(error, MemexError | Fault):
                return False
        elif record.name == _ASYNCIO:
            # The other lines show tasks with their errors.
            record.msg = str(record.msg).partition("\n")[0]
        if error is not None:
            record.exc_text = outline(error)  # formatters use it instead of their own text
        record.time = _iso(record.created)
        return True


def outline(error: BaseException) -> str:
    """The error and those that led to it, oldest first, each with the code lines of its
    traceback."""
    parts = [
        "".join([*traceback.format_tb(link.__traceback__), describe(link)])
        for link in _chain(error)
    ]
    return "\nwhich led to\n".join(reversed(parts))


def describe(error: BaseException) -> str:
    """The error's class, and the part of its message that cannot quote a memory."""
    cls = type(error)
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return f"{name}: SQLSTATE {state}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if name.startswith(("deployments.", "serve_app.")):
        return f"{name}: {error}"
    if isinstance(error, BaseExceptionGroup):
        return f"{name} of {', '.join(describe(member) for member in error.exceptions)}"
    return name


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, newest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
