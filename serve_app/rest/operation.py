"""One operation of the API, as it is served and as it is documented."""

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
    """One route and method."""

    method: str
    path: str
    handler: Handler
    summary: str
    status: int
    answer: type | None
    body: type[BaseModel] | None = None
    body_lines: type[BaseModel] | None = None
    """Of a body in JSON Lines, in the place of `body`."""
    query: type[BaseModel] | None = None
    is_keyed: bool = False
    """Whether it takes an Idempotency-Key."""
    errors: tuple[int, ...] = ()
    """Beside those that every operation can answer with."""
    lines: tuple[type, ...] = ()
    """Of an answer in JSON Lines, which the handler makes itself: any of these."""

    def encoder(self) -> Callable[[Any], Response]:
        """From what the handler returns to its answer."""
        if self.lines:
            return lambda response: response
        if self.answer is None:
            return lambda _value: Response(status_code=self.status)
        adapter: TypeAdapter[Any] = TypeAdapter(self.answer)
        return lambda value: Response(
            adapter.dump_json(value), self.status, media_type="application/json"
        )
