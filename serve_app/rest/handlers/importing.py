"""Imports of JSON Lines: stored batch by batch as they come, what is refused named by number."""

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
from deployments.domain.memories import Imported, NewMemory
from serve_app.rest.errors import describe
from serve_app.rest.input import read_query
from serve_app.rest.schemas.lines import ImportedOut, MemoryLine, RefusedLine
from serve_app.rest.schemas.queries import OwnerQuery
from serve_app.services.memories import MemoryService
from serve_app.web.headers import media_type
from serve_app.web.jsonl import MEDIA_TYPE, TOO_LONG, LineSplitter, ended

_BATCH_MEMORIES = 128
_BATCH_CHARS = 128_000  # some 2 s of work for an embedder
_PATIENCE_S = 30.0  # with a part that is away: an import may be an hour's work
_REFUSALS_IN_MEMORY_BYTES = 256 * 1024  # beyond it they wait in a file
_REASON_CHARS = 500
_CHUNK_BYTES = 64 * 1024
_CHUNKS_AHEAD = 4
_LET_GO_S = 3.0

_REFUSED = TypeAdapter(RefusedLine)
_IMPORTED = TypeAdapter(ImportedOut)


async def import_memories(service: MemoryService, request: Request) -> Response:
    """Answers when the body has ended: who sends it need not read before."""
    agent_id = read_query(request, OwnerQuery).agent_id
    if media_type(request.headers) not in (MEDIA_TYPE, "application/jsonl"):
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send the body as Content-Type: {MEDIA_TYPE}"
        )
    _read_no_further_ahead(request)
    # Closed by whoever has it last: it is a file only where much was refused.
    refusals = tempfile.SpooledTemporaryFile(_REFUSALS_IN_MEMORY_BYTES)  # noqa: SIM115
    try:
        result = await Import(service, agent_id, refusals).run(request.stream())
    except BaseException as error:
        refusals.close()
        if isinstance(error, MemexError):
            await _let_go(request)
        raise
    return StreamingResponse(_answer(refusals, result), media_type=MEDIA_TYPE)


class Import:
    """One body's lines on their way into the store."""

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
        self._became = dict.fromkeys(Imported, 0)
        self._expired = self._refused = 0
        self._is_counted = False
        self._since_end = 0
        self._is_whole = False

    async def run(self, chunks: AsyncIterator[bytes]) -> ImportedOut:
        """Every batch is committed before the next one is read. Raises RateLimited, Unavailable,
        ClientDisconnect."""
        number = 0
        async for line in _lines(chunks):
            number += 1
            self._take(number, line)
            if len(self._batch) >= _BATCH_MEMORIES or self._batch_chars >= _BATCH_CHARS:
                await self._store()
        if self._batch:
            await self._store()
        return ImportedOut(
            stored=self._became[Imported.STORED],
            already_there=self._became[Imported.THERE],
            expired=self._expired,
            refused=self._refused,
            whole=self._is_whole,
        )

    def _take(self, number: int, line: bytes | None) -> None:
        if line is not None and not line.strip():
            return
        memories = None if line is None else ended(line)
        self._is_whole = memories == self._since_end
        if memories is not None:
            if not self._is_whole:
                self._refuse(
                    number,
                    f"the export that ends here has {memories} memories, "
                    f"but {self._since_end} lines came before this one",
                )
            self._since_end = 0
            return
        self._since_end += 1
        try:
            memory = _read(line)
        except ValueError as error:
            self._refuse(number, str(error))
            return
        if memory.expires_at is not None and memory.expires_at <= datetime.now(UTC):
            self._expired += 1
            return
        self._batch.append((number, memory.to_domain(self._agent_id)))
        self._batch_chars += len(memory.content)

    async def _store(self) -> None:
        outcomes = await self._stored([memory for _, memory in self._batch])
        # An import is one write. One whose memories are all there is none.
        self._is_counted |= any(outcome is not Imported.THERE for outcome in outcomes)
        for (number, _), outcome in zip(self._batch, outcomes, strict=True):
            if outcome is Imported.TAKEN:
                self._refuse(number, "id: is taken")
            elif outcome is Imported.ORPHANED:
                self._refuse(number, "superseded_by: no such memory is there; it has to come first")
            else:
                self._became[outcome] += 1
        self._batch.clear()
        self._batch_chars = 0

    async def _stored(self, memories: list[NewMemory]) -> list[Imported]:
        """Made again for a while where a part of the service is away: ids are the lines' own."""
        waited_s = 0.0
        while True:
            try:
                return await self._service.add_missing(
                    self._agent_id, memories, is_counted=not self._is_counted
                )
            except Unavailable as error:
                if waited_s >= _PATIENCE_S:
                    raise
                waited_s += error.retry_after_s
                await self._sleep(error.retry_after_s)

    def _refuse(self, number: int, reason: str) -> None:
        self._refused += 1
        refused = RefusedLine(number, reason[:_REASON_CHARS])
        self._refusals.write(_REFUSED.dump_json(refused) + b"\n")


def _read(line: bytes | None) -> MemoryLine:
    """Raises ValueError that says why it is none."""
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
        yield _IMPORTED.dump_json(result) + b"\n"


def _read_no_further_ahead(request: Request) -> None:
    """Ray takes all of a body into a queue as fast as it comes, to notice when its client goes
    away. Where it awaits `put`, as it does behind HAProxy, it is made to wait for room: the rest of
    the body then stays with its sender. Its own proxy uses `put_nowait`, which cannot wait."""
    queue = getattr(request.receive, "queue", None)
    if not isinstance(queue, asyncio.Queue):
        return

    async def put(item: object) -> None:
        queue._maxsize = _CHUNKS_AHEAD  # type: ignore[attr-defined]
        await asyncio.Queue.put(queue, item)

    queue.put = put  # type: ignore[method-assign]


async def _let_go(request: Request) -> None:
    """Read on for a moment: a client that is still sending could not read the answer else."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_LET_GO_S):
            async for _chunk in request.stream():
                pass
