"""The requests that a call is made for: their ids and spans.

A request's task knows its own request, and calls made directly from there need no more. A call that
carries several requests, or one of an earlier task, sets them by `act_for`.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request: its X-Request-ID, and its span if it has one."""

    request_id: str
    span: Optional["Span"] = None


_current: ContextVar[tuple[RequestContext, ...]] = ContextVar("memex_requests", default=())


def current_requests() -> tuple[RequestContext, ...]:
    """Empty if nobody asked, as at a replica's start."""
    return _current.get()


def act_for(requests: Iterable[RequestContext]) -> None:
    """From here on, in this task and those it starts."""
    _current.set(tuple(requests))
