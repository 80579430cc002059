"""For whom a call is made: the requests that it answers, by their ids and spans.

A request's task knows the one that it is, and calls made directly from there need no more. A call
that carries several, or one of an earlier task, says so by `on_behalf_of`.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(frozen=True, slots=True)
class Origin:
    """A request: its X-Request-ID, and its span where it has one."""

    request_id: str
    span: Optional["Span"] = None


Origins = tuple[Origin, ...]

_current: ContextVar[Origins] = ContextVar("memex_origins", default=())


def current() -> Origins:
    """None of them where nobody asked, as at a replica's start."""
    return _current.get()


def on_behalf_of(origins: Iterable[Origin]) -> None:
    """From here on, in this task and those it starts."""
    _current.set(tuple(origins))
