"""Caches the embeddings of recent texts in front of an Embedder.

A text's embedding depends only on its model, its kind and the text, so a row never becomes wrong
and is kept until its space is needed. With the int8 model it also depends, slightly, on the texts
that are embedded with it; the cache then makes a repeated text's row identical each time, for as
long as it is kept.
"""

import asyncio
import secrets
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind
from deployments.domain.errors import Unavailable
from deployments.domain.ports.embedding import Embedder

# What an entry needs besides its two bytes objects: its place in an OrderedDict, measured at 75 to
# 117 bytes over growth and eviction, and the allocator's rounding.
_ENTRY_BYTES = 160


class CachedEmbedder:
    """The Embedder port over another, which gets one request for each text that is not cached.

    A call requests from `inner`, together, its texts that are neither cached nor already requested
    by another caller. Callers of the same text share that request and its error; errors are not
    cached. A request whose callers are all cancelled is cancelled too.

    The cache holds at most `max_bytes`, including keys and overhead, and evicts the least recently
    used row first. If `max_bytes` is 0, `inner` gets every call.

    `observe_misses` is called with the number of texts that a call requests from `inner`,
    `observe_hits` with the number of the others: cached, requested by another caller, or repeated
    in the call. The two add up to the call's texts. Belongs to one event loop.
    """

    def __init__(
        self,
        inner: Embedder,
        max_bytes: int,
        *,
        observe_hits: Callable[[int], None] | None = None,
        observe_misses: Callable[[int], None] | None = None,
    ) -> None:
        self._inner = inner
        self._cache = _Rows(max_bytes)
        self._max_bytes = max_bytes
        self._in_flight: dict[bytes, _Request] = {}
        self._observe_hits = observe_hits
        self._observe_misses = observe_misses
        # Keys are digests of 16 bytes, however long the text. Two of a billion texts share one with
        # a probability of about 1e-21. The digests depend on a secret of this process, so nobody
        # can search for two such texts to get one's row for the other.
        self._secret = secrets.token_bytes(16)

    @property
    def used_bytes(self) -> int:
        """The cache's current size, as it counts towards `max_bytes`."""
        return self._cache.used_bytes

    async def identity(self) -> ModelIdentity:
        return await self._inner.identity()

    async def has(self, identity: ModelIdentity) -> bool:
        return await self._inner.has(identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        """See the port. The caller may change the array."""
        if self._max_bytes == 0 or not texts:
            return await self._inner.embed(texts, kind, identity)
        keys = self._keys(texts, kind, identity)
        rows: dict[bytes, bytes] = {}
        shared: dict[bytes, _Request] = {}
        missing: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if (row := self._cache.get(key)) is not None:
                rows[key] = row
            elif (request := self._in_flight.get(key)) is not None:
                shared[key] = request
            else:
                missing[key] = text
        self._count(len(texts) - len(missing), len(missing))

        requests = set(shared.values())
        if missing:
            requests.add(self._start_request(missing, kind, identity))
        if requests:
            await self._wait(requests)
        for request in requests:
            rows.update(request.task.result())
        return np.stack([np.frombuffer(rows[key], dtype=np.float32) for key in keys])

    def _keys(self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity) -> list[bytes]:
        # No repr of this shape is the beginning of another, so repr and text cannot be confused.
        scope = blake2b(repr((kind, identity)).encode(), digest_size=16, key=self._secret)
        keys = []
        for text in texts:
            digest = scope.copy()
            digest.update(text.encode())
            keys.append(digest.digest())
        return keys

    def _count(self, hits: int, misses: int) -> None:
        if hits and self._observe_hits is not None:
            self._observe_hits(hits)
        if misses and self._observe_misses is not None:
            self._observe_misses(misses)

    def _start_request(
        self, missing: dict[bytes, str], kind: TextKind, identity: ModelIdentity
    ) -> "_Request":
        """Start a request to `inner` in its own task, because its callers may be cancelled one by
        one."""
        request = _Request(list(missing))
        request.task = asyncio.create_task(
            self._run(request, list(missing.values()), kind, identity)
        )
        request.task.add_done_callback(lambda _: self._on_done(request))
        for key in missing:
            self._in_flight[key] = request
        return request

    async def _run(
        self, request: "_Request", texts: list[str], kind: TextKind, identity: ModelIdentity
    ) -> dict[bytes, bytes]:
        try:
            embeddings = await self._inner.embed(texts, kind, identity)
            if len(embeddings) != len(texts):
                raise RuntimeError(
                    f"the embedder returned {len(embeddings)} rows for {len(texts)} texts"
                )
            # bytes are immutable, and smaller than an array of one row.
            rows = {
                key: np.asarray(row, dtype=np.float32).tobytes()
                for key, row in zip(request.keys, embeddings, strict=True)
            }
            for key, row in rows.items():
                self._cache.put(key, row)
            return rows
        finally:
            # Not in the task's callbacks, which run later: callers that arrive in between find the
            # cached rows, or start a new request after an error.
            self._close(request)

    def _on_done(self, request: "_Request") -> None:
        self._close(request)  # still open if it was cancelled before its task started
        if not request.task.cancelled():
            request.task.exception()  # retrieved, or asyncio logs it if no caller is left

    def _close(self, request: "_Request") -> None:
        """Let no later caller share the request."""
        for key in request.keys:
            if self._in_flight.get(key) is request:
                del self._in_flight[key]

    async def _wait(self, requests: "set[_Request]") -> None:
        """Wait until all requests have their rows. Raises the first error."""
        for request in requests:
            request.callers += 1
        try:
            done, _ = await asyncio.wait(
                [request.task for request in requests], return_when=asyncio.FIRST_EXCEPTION
            )
        finally:
            for request in requests:
                request.callers -= 1
                if request.callers == 0:  # no effect on a request that has ended
                    self._close(request)
                    request.task.cancel()
        for task in done:
            if task.cancelled():  # by others, because this caller still waits
                raise Unavailable("embedder")
            task.result()


@dataclass(eq=False, slots=True)
class _Request:
    """One call to the inner embedder, and the number of callers that wait for it."""

    keys: list[bytes]
    task: asyncio.Task[dict[bytes, bytes]] = field(init=False)
    callers: int = 0


class _Rows:
    """Rows by key, at most `max_bytes` in total; evicts the least recently used first."""

    def __init__(self, max_bytes: int) -> None:
        self.used_bytes = 0
        self._max_bytes = max_bytes
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: bytes, row: bytes) -> None:
        """Add a row. A key's existing row is kept; a row larger than `max_bytes` is not added."""
        size = _size(key, row)
        if size > self._max_bytes or self.get(key) is not None:
            return
        while self.used_bytes + size > self._max_bytes:
            self.used_bytes -= _size(*self._rows.popitem(last=False))
        self._rows[key] = row
        self.used_bytes += size


def _size(key: bytes, row: bytes) -> int:
    return sys.getsizeof(key) + sys.getsizeof(row) + _ENTRY_BYTES
