"""One operation of the API, from which its route and its documentation are made."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from serve_app.services.memories import MemoryService

Handler = Callable[[MemoryService, Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method of the API."""

    method: str
    path: str
    handler: Handler
    summary: str
    status: int
    answer: type | None
    body: type[BaseModel] | None = None
    body_lines: type[BaseModel] | None = None
    """The schema of each line, if the body is JSON Lines; `body` is then None."""
    query: type[BaseModel] | None = None
    is_keyed: bool = False
    """Whether it accepts an Idempotency-Key."""
    errors: tuple[int, ...] = ()
    """Error statuses, in addition to those that every operation can answer with."""
    lines: tuple[type, ...] = ()
    """The schemas of the lines, if the answer is JSON Lines; the handler then returns a
    Response."""

    def encoder(self) -> Callable[[Any], Response]:
        """A function that makes the response from the handler's return value."""
        if self.lines:
            return lambda response: response
        if self.answer is None:
            return lambda _value: Response(status_code=self.status)
        adapter: TypeAdapter[Any] = TypeAdapter(self.answer)
        return lambda value: Response(
            adapter.dump_json(value), self.status, media_type="application/json"
        )
