"""Exports as JSON Lines: one line for each memory, and a last line with their number."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPMethod

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deployments.domain.errors import MemexError
from deployments.domain.memories import ExportPage, Memory
from deployments.runtime import logs
from serve_app.rest.input import read_query
from serve_app.rest.schemas.queries import ExportQuery
from serve_app.services.memories import MemoryService
from serve_app.web.jsonl import MEDIA_TYPE, end_line

TOTAL_HEADER = "X-Memex-Memories"
NOT_EXPORTED = frozenset({"agent_id", "score", "explanation"})
"""The request names the agent; only searches set the other fields."""

_MEMORY = TypeAdapter(Memory)
_logger = logging.getLogger(logs.NAME)


async def export_memories(service: MemoryService, request: Request) -> Response:
    """Read the first page before answering, so that earlier failures still get an error status."""
    query = read_query(request, ExportQuery)
    pages = service.export(query.agent_id, query.user_id)
    try:
        first = await anext(pages)
        headers = {
            TOTAL_HEADER: str(first.total),
            "Content-Disposition": 'attachment; filename="memories.jsonl"',
        }
        if request.method == HTTPMethod.HEAD:
            await pages.aclose()
            head = Response(headers=headers, media_type=MEDIA_TYPE)
            del head.headers["content-length"]  # the length of an empty body, not of the export
            return head
    except BaseException:
        await pages.aclose()
        raise
    return _Export(_lines(first, pages), headers=headers, media_type=MEDIA_TYPE)


def line_of(memory: Memory) -> bytes:
    """One memory as a line of an export, without the fields in `NOT_EXPORTED`."""
    return _MEMORY.dump_json(memory, exclude=set(NOT_EXPORTED)) + b"\n"


async def _lines(
    first: ExportPage, rest: AsyncGenerator[ExportPage, None]
) -> AsyncGenerator[bytes, None]:
    """One chunk for each page, then the last line."""
    memories = len(first.memories)
    async with aclosing(rest):
        yield b"".join(map(line_of, first.memories))
        async for page in rest:
            memories += len(page.memories)
            yield b"".join(map(line_of, page.memories))
    yield end_line(memories)


class _Export(StreamingResponse):
    """Close the pages when the response ends. If they fail, leave the body unfinished: the server
    then closes the connection within it, which clients notice, as they do the missing last line."""

    body_iterator: AsyncGenerator[bytes, None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except MemexError as error:
            _logger.warning("an export failed before its end: %s", error)
