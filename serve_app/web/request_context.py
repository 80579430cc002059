"""The requests that a call is made for: their ids and spans.

A request's own task has that request as its context, and so do calls made in that task. A task that
makes a call for several requests, or for requests of other tasks, uses `set_current_requests`.
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
    """Empty outside a request, for example when a replica starts."""
    return _current.get()


def set_current_requests(requests: Iterable[RequestContext]) -> None:
    """For the rest of this task, and for the tasks that it starts."""
    _current.set(tuple(requests))
