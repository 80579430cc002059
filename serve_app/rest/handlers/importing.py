"""Imports of JSON Lines: store memories batch by batch as they arrive, and report refused lines."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import IO

import pydantic_core
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from deployments.domain.errors import MemexError, Unavailable
from deployments.domain.memories import ImportOutcome, NewMemory
from serve_app.rest.errors import describe
from serve_app.rest.input import read_query
from serve_app.rest.rate_limits import rate_limit_headers
from serve_app.rest.schemas.lines import ImportedOut, MemoryLine, RefusedLine
from serve_app.rest.schemas.queries import AgentQuery
from serve_app.services.memories import MemoryService
from serve_app.web.headers import media_type
from serve_app.web.jsonl import MEDIA_TYPE, TOO_LONG, LineSplitter, parse_end_line

_BATCH_MEMORIES = 128
_BATCH_CHARS = 128_000  # about 2 s of work for an embedder
_RETRY_FOR_S = 30.0  # if a part of the service is unavailable: an import may take an hour
_MAX_REFUSALS_IN_MEMORY_BYTES = 256 * 1024  # more refusals go to a temporary file
_MAX_REASON_CHARS = 500
_CHUNK_BYTES = 64 * 1024
_MAX_CHUNKS_AHEAD = 4
_DRAIN_S = 3.0

_REFUSED_LINE = TypeAdapter(RefusedLine)
_LAST_LINE = TypeAdapter(ImportedOut)


async def import_memories(service: MemoryService, request: Request) -> Response:
    """Answer after the body has ended, so that clients can send all of it before they read."""
    agent_id = read_query(request, AgentQuery).agent_id
    if media_type(request.headers) not in (MEDIA_TYPE, "application/jsonl"):
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send the body as Content-Type: {MEDIA_TYPE}"
        )
    _limit_read_ahead(request)
    # Closed by _answer, or below. It becomes a file only if many lines are refused.
    refusals = tempfile.SpooledTemporaryFile(_MAX_REFUSALS_IN_MEMORY_BYTES)  # noqa: SIM115
    try:
        result = await Import(service, agent_id, refusals).run(request.stream())
    except BaseException as error:
        refusals.close()
        if isinstance(error, MemexError):
            await _drain(request)
        raise
    headers = rate_limit_headers(service.quota("write", agent_id))
    return StreamingResponse(_answer(refusals, result), headers=headers, media_type=MEDIA_TYPE)


class Import:
    """Stores the lines of one body."""

    def __init__(
        self,
        service: MemoryService,
        agent_id: str,
        refusals: IO[bytes],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._service = service
        self._agent_id = agent_id
        self._refusals = refusals
        self._sleep = sleep
        self._batch: list[tuple[int, NewMemory]] = []
        self._batch_chars = 0
        self._counts = dict.fromkeys(ImportOutcome, 0)
        self._expired = self._refused = 0
        self._is_counted = False
        self._lines_since_end = 0
        self._is_whole = False

    async def run(self, chunks: AsyncIterator[bytes]) -> ImportedOut:
        """Store all lines; each batch is committed before the next one is read. Raises RateLimited,
        Unavailable, ClientDisconnect."""
        number = 0
        async for line in _lines(chunks):
            number += 1
            self._add(number, line)
            if len(self._batch) >= _BATCH_MEMORIES or self._batch_chars >= _BATCH_CHARS:
                await self._store()
        if self._batch:
            await self._store()
        return ImportedOut(
            stored=self._counts[ImportOutcome.STORED],
            already_there=self._counts[ImportOutcome.EXISTS],
            expired=self._expired,
            refused=self._refused,
            whole=self._is_whole,
        )

    def _add(self, number: int, line: bytes | None) -> None:
        """Add the memory of a line to the batch, or refuse the line. None is a line that is too
        long."""
        if line is not None and not line.strip():
            return
        memories = None if line is None else parse_end_line(line)
        self._is_whole = memories == self._lines_since_end
        if memories is not None:
            if not self._is_whole:
                self._refuse(
                    number,
                    f"the export that ends here has {memories} memories, "
                    f"but {self._lines_since_end} lines came before this one",
                )
            self._lines_since_end = 0
            return
        self._lines_since_end += 1
        try:
            memory = _parse(line)
        except ValueError as error:
            self._refuse(number, str(error))
            return
        if memory.expires_at is not None and memory.expires_at <= datetime.now(UTC):
            self._expired += 1
            return
        self._batch.append((number, memory.to_domain(self._agent_id)))
        self._batch_chars += len(memory.content)

    async def _store(self) -> None:
        outcomes = await self._store_with_retries([memory for _, memory in self._batch])
        # An import counts as one write, or as none if all of its memories already exist.
        self._is_counted |= any(outcome is not ImportOutcome.EXISTS for outcome in outcomes)
        for (number, _), outcome in zip(self._batch, outcomes, strict=True):
            if outcome is ImportOutcome.TAKEN:
                self._refuse(number, "id: is taken")
            elif outcome is ImportOutcome.ORPHANED:
                self._refuse(number, "superseded_by: no such memory exists; it must come first")
            else:
                self._counts[outcome] += 1
        self._batch.clear()
        self._batch_chars = 0

    async def _store_with_retries(self, memories: list[NewMemory]) -> list[ImportOutcome]:
        """Store the memories, and retry for a while if a part of the service is unavailable. That
        is safe, because the lines have ids. Raises RateLimited, Unavailable."""
        waited_s = 0.0
        while True:
            try:
                return await self._service.add_missing(
                    self._agent_id, memories, is_counted=not self._is_counted
                )
            except Unavailable as error:
                if waited_s >= _RETRY_FOR_S:
                    raise
                waited_s += error.retry_after_s
                await self._sleep(error.retry_after_s)

    def _refuse(self, number: int, reason: str) -> None:
        self._refused += 1
        refused = RefusedLine(number, reason[:_MAX_REASON_CHARS])
        self._refusals.write(_REFUSED_LINE.dump_json(refused) + b"\n")


def _parse(line: bytes | None) -> MemoryLine:
    """The memory of a line. Raises ValueError with the reason to refuse the line."""
    if line is None:
        raise ValueError(TOO_LONG)
    try:
        pydantic_core.from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"the line is not JSON: {error}") from None
    try:
        return MemoryLine.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(describe(error)) from None


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
    splitter = LineSplitter()
    async for chunk in chunks:
        for line in splitter.feed(chunk):
            yield line
    for line in splitter.end():
        yield line


async def _answer(refusals: IO[bytes], result: ImportedOut) -> AsyncGenerator[bytes, None]:
    with refusals:
        refusals.seek(0)
        while chunk := refusals.read(_CHUNK_BYTES):
            yield chunk
        yield _LAST_LINE.dump_json(result) + b"\n"


def _limit_read_ahead(request: Request) -> None:
    """Make Ray's producer wait if `_MAX_CHUNKS_AHEAD` chunks are queued.

    Ray reads a whole body into a queue as fast as it arrives, to notice when the client
    disconnects. If it awaits `put`, as it does behind HAProxy, it now waits for room in the queue,
    and the rest of the body stays with the client. Ray's own proxy calls `put_nowait`, which cannot
    wait.
    """
    queue = getattr(request.receive, "queue", None)
    if not isinstance(queue, asyncio.Queue):
        return

    async def put(item: object) -> None:
        queue._maxsize = _MAX_CHUNKS_AHEAD  # type: ignore[attr-defined]
        await asyncio.Queue.put(queue, item)

    queue.put = put  # type: ignore[method-assign]


async def _drain(request: Request) -> None:
    """Read the rest of the body for a moment, because a client that still sends would not read the
    error."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_S):
            async for _chunk in request.stream():
                pass
