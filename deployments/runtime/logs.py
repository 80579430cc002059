"""What the replicas' log lines say: when it was, and of an error where it came from but not what it
quotes.

An error's own words may hold a memory: Postgres names the row that it refuses, Python the value
that it cannot take. So only those of our own errors are written out; of any other its class, its
SQLSTATE where it has one, and the lines of code that it came by.
"""

import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

from deployments.domain.errors import Fault, MemexError

NAME = "ray.serve.memex"  # below ray.serve, so that Serve writes it to its files
_SERVE = "ray.serve"
_ASYNCIO = "asyncio"
_OF_A_CALL = "Request failed."  # Serve's line about whatever a call raises


def install() -> None:
    """In a replica, before it does anything else. Twice is as good as once."""
    for name in (_SERVE, NAME, _ASYNCIO):
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Tidy) for one in logger.filters):
            logger.addFilter(_Tidy())


class _Tidy(logging.Filter):
    """On the loggers, not on their handlers, which Serve replaces when it is reconfigured."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if record.name == _SERVE and record.msg == _OF_A_CALL:
            # An answer such as "over the limit", or a failure that the node has logged already.
            if isinstance(error, MemexError | Fault):
                return False
        elif record.name == _ASYNCIO:
            record.msg = str(record.msg).partition("\n")[
                0
            ]  # the rest shows tasks with their errors
        if error is not None:
            record.exc_text = outline(error)  # which formatters take in place of their own
        record.time = _iso(record.created)
        return True


def outline(error: BaseException) -> str:
    """The error and those that led to it, each with the lines of code that it came by, oldest
    first."""
    parts = [
        "".join([*traceback.format_tb(one.__traceback__), describe(one)]) for one in _chain(error)
    ]
    return "\nwhich led to\n".join(reversed(parts))


def describe(error: BaseException) -> str:
    """The error's class, and what may be told of its words."""
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
        return f"{name} of {', '.join(describe(one) for one in error.exceptions)}"
    return name


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
