"""Embeddings of texts that were embedded lately, in front of an Embedder.

A text's embedding is a function of its model, its kind and the text itself, so a row never becomes
wrong and is kept until room is needed. Only with the int8 model does it also depend, slightly, on
the texts it was embedded with: there the cache makes a repeated text's row the same each time, for
as long as it is kept.
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

# What an entry takes beside its two bytes objects: its place in an OrderedDict, measured over
# growth and eviction at 75 to 117 bytes, and what the allocator rounds up.
_ENTRY_BYTES = 160


class CachedEmbedder:
    """The Embedder port over another, which is asked for each text that is not at hand once.

    A call asks it, in one request, for those of its texts that are neither kept nor under way for
    another caller; callers of the same text share that request and its failure, which is not kept.
    A request whose callers have all been cancelled is cancelled too.

    Kept are at most `max_bytes`, counted with keys and overhead; the least recently used goes
    first. 0 hands every call through.

    `miss` is told how many texts a call asks `inner` for, `hit` how many it does not: kept, under
    way, or twice in the same call. They add up to the call's texts. Belongs to one event loop.
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
        self._kept = _Rows(max_bytes)
        self._max_bytes = max_bytes
        self._under_way: dict[bytes, _Request] = {}
        self._observe_hits = observe_hits
        self._observe_misses = observe_misses
        # Keys are digests: 16 bytes each, however long the text. Two of a billion texts share one
        # with a probability of about 1e-21. Nor can such texts be sought out and sent, to have one
        # answered with the other's row: the digests depend on a secret of this process.
        self._secret = secrets.token_bytes(16)

    @property
    def used_bytes(self) -> int:
        """What is kept now, as it counts towards `max_bytes`."""
        return self._kept.used_bytes

    async def identity(self) -> ModelIdentity:
        return await self._inner.identity()

    async def has(self, identity: ModelIdentity) -> bool:
        return await self._inner.has(identity)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        """As the port says. The array is the caller's own to change."""
        if self._max_bytes == 0 or not texts:
            return await self._inner.embed(texts, kind, identity)
        keys = self._keys(texts, kind, identity)
        rows: dict[bytes, bytes] = {}
        shared: dict[bytes, _Request] = {}
        missing: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if (row := self._kept.get(key)) is not None:
                rows[key] = row
            elif (request := self._under_way.get(key)) is not None:
                shared[key] = request
            else:
                missing[key] = text
        self._count(len(texts) - len(missing), len(missing))

        requests = set(shared.values())
        if missing:
            requests.add(self._ask(missing, kind, identity))
        if requests:
            await self._wait(requests)
        for request in requests:
            rows.update(request.task.result())
        return np.stack([np.frombuffer(rows[key], dtype=np.float32) for key in keys])

    def _keys(self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity) -> list[bytes]:
        # A repr of this shape is no other's beginning, so it and the text cannot run together.
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

    def _ask(
        self, missing: dict[bytes, str], kind: TextKind, identity: ModelIdentity
    ) -> "_Request":
        """Begin a request to `inner`, in a task of its own: its callers may go one by one."""
        request = _Request(list(missing))
        request.task = asyncio.create_task(
            self._run(request, list(missing.values()), kind, identity)
        )
        request.task.add_done_callback(lambda _: self._done(request))
        for key in missing:
            self._under_way[key] = request
        return request

    async def _run(
        self, request: "_Request", texts: list[str], kind: TextKind, identity: ModelIdentity
    ) -> dict[bytes, bytes]:
        try:
            embeddings = await self._inner.embed(texts, kind, identity)
            if len(embeddings) != len(texts):
                raise RuntimeError(f"{len(texts)} texts came back as {len(embeddings)} rows")
            # Bytes cannot be changed by anyone, and take less than an array of one row.
            rows = {
                key: np.asarray(row, dtype=np.float32).tobytes()
                for key, row in zip(request.keys, embeddings, strict=True)
            }
            for key, row in rows.items():
                self._kept.put(key, row)
            return rows
        finally:
            # Here, not in the task's callbacks, which have their turn later: who comes between
            # finds the rows kept, or asks anew after a failure.
            self._close(request)

    def _done(self, request: "_Request") -> None:
        self._close(request)  # it is still open where it was cancelled before its first turn
        if not request.task.cancelled():
            request.task.exception()  # seen, also where no caller is left: asyncio would log it

    def _close(self, request: "_Request") -> None:
        """Who comes from now on does not share it."""
        for key in request.keys:
            if self._under_way.get(key) is request:
                del self._under_way[key]

    async def _wait(self, requests: "set[_Request]") -> None:
        """Until all have their rows. Raises what the first to fail failed with."""
        for request in requests:
            request.callers += 1
        try:
            done, _ = await asyncio.wait(
                [request.task for request in requests], return_when=asyncio.FIRST_EXCEPTION
            )
        finally:
            for request in requests:
                request.callers -= 1
                if request.callers == 0:  # and to a request that has ended, this does nothing
                    self._close(request)
                    request.task.cancel()
        for task in done:
            if task.cancelled():  # not for want of callers: this one is here
                raise Unavailable("embedder")
            task.result()


@dataclass(eq=False, slots=True)
class _Request:
    """One call to the inner embedder, and how many callers wait for it."""

    keys: list[bytes]
    task: asyncio.Task[dict[bytes, bytes]] = field(init=False)
    callers: int = 0


class _Rows:
    """Rows by key, of at most `max_bytes` together; the least recently used goes first."""

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
        """A row that is there stays as it is."""
        size = _size(key, row)
        if size > self._max_bytes or self.get(key) is not None:
            return
        while self.used_bytes + size > self._max_bytes:
            self.used_bytes -= _size(*self._rows.popitem(last=False))
        self._rows[key] = row
        self.used_bytes += size


def _size(key: bytes, row: bytes) -> int:
    return sys.getsizeof(key) + sys.getsizeof(row) + _ENTRY_BYTES
