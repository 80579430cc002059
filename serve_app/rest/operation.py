"""One operation of the API, from which its route and its documentation are made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from serve_app.services.memories import MemoryService

Handler = Callable[[MemoryService, Request], Awaitable[Any]]
"""Returns the answer's value, a Reply of it, or a whole Response."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A value to answer with, and headers."""

    value: T
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method of the API."""

    method: str
    path: str
    handler: Handler
    summary: str
    status: int
    answer: Any
    """The type of the answer, or a union of types; None if there is no body, or lines."""
    body: type[BaseModel] | None = None
    body_lines: type[BaseModel] | None = None
    """The schema of each line, if the body is JSON Lines; `body` is then None."""
    query: type[BaseModel] | None = None
    is_keyed: bool = False
    """Whether it accepts an Idempotency-Key."""
    has_etag: bool = False
    """Whether its answer has an ETag."""
    is_conditional: bool = False
    """Whether it accepts If-Match."""
    errors: tuple[int, ...] = ()
    """Error statuses, in addition to those that every operation can answer with."""
    lines: tuple[type, ...] = ()
    """The schemas of the lines, if the answer is JSON Lines; the handler then returns a
    Response."""

    def encoder(self) -> Callable[[Any], Response]:
        """A function that makes the response from the handler's return value."""
        adapter: TypeAdapter[Any] | None = None if self.answer is None else TypeAdapter(self.answer)

        def encode(answer: Any) -> Response:
            if isinstance(answer, Response):
                return answer
            reply = answer if isinstance(answer, Reply) else Reply(answer, {})
            if adapter is None:
                return Response(None, self.status, reply.headers)
            body = adapter.dump_json(reply.value)
            return Response(body, self.status, reply.headers, media_type="application/json")

        return encode
