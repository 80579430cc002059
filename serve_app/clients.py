"""Deployment handles as the domain's ports: deadlines, safe retries, errors unwrapped once."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

import grpc
import numpy as np
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.domain.errors import Fault, MemexError, Unavailable
from deployments.domain.overview import TallyPage, Timeline
from deployments.domain.summaries import Condensation, PassReport, ScopeToCondense, Source
from deployments.domain.types import (
    Embeddings,
    ExportPage,
    Imported,
    InsertCall,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryVersion,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
    SearchCall,
    SearchQuery,
    TextKind,
    TextsOfKind,
    WriteKey,
)
from deployments.store.settings import FORGET_TIMEOUT_S
from serve_app.carrying import carried

_ATTEMPTS = 3
_PAUSE_S = 0.05

# One call to the embedder carries so much text, about 0.1 s of work, and all callers with more have
# so many such calls under way: the largest batch of long texts then neither outlasts a call's
# deadline nor makes others, with few short texts, wait for all of it.
_SLICE_CHARS = 8_000
_SLICES_AT_ONCE = 4


_Call = TypeVar("_Call", InsertCall, SearchCall)


class RemoteEmbedder:
    """The BatchedEmbedder port over its handle. Embedding twice is harmless: calls are retried."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = _Edge("embedder", handle, timeout_s)
        self._turn = asyncio.Semaphore(_SLICES_AT_ONCE)

    async def identity(self) -> ModelIdentity:
        identity: ModelIdentity = await self._edge.call_again("identity")
        return identity

    async def has(self, identity: ModelIdentity) -> bool:
        return await self.identity() == identity

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        parts = list(slices(texts, _SLICE_CHARS))
        if len(parts) == 1:
            rows: Embeddings = await self._edge.call_again("embed", texts, kind, identity)
            return rows

        async def embed_slice(part: Sequence[str]) -> Embeddings:
            async with self._turn:
                rows: Embeddings = await self._edge.call_again("embed", part, kind, identity)
                return rows

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(embed_slice(part)) for part in parts]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return np.concatenate([task.result() for task in tasks])

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        """In one call: it is the caller's to bound them."""
        rows: Embeddings = await self._edge.call_again("embed_each", callers, identity)
        return rows


def slices(texts: Sequence[str], max_chars: int) -> Iterator[Sequence[str]]:
    """`texts` in order, in parts of at most `max_chars` characters, or of one text."""
    start = chars = 0
    for end, text in enumerate(texts):
        if end > start and chars + len(text) > max_chars:
            yield texts[start:end]
            start, chars = end, 0
        chars += len(text)
    yield texts[start:]


class RemoteStore:
    """The BatchedMemoryStore port over its handle.

    Reads are retried when a replica dies under them, and so are writes that may be made twice:
    an insert's ids are its caller's, an update sets values. A second try is not counted by the
    rate limit, since the first may have been. Deletions are not retried: a second one would report
    that there was nothing.
    """

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = _Edge("store", handle, timeout_s)

    async def ping(self) -> None:
        await self._edge.call_again("ping")

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        generation: int = await self._edge.call_again("adopt_generation", identity)
        return generation

    async def insert(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Memory]:
        stored: list[Memory] = await self._edge.call_again(
            "insert", memories, embeddings, generation, _Once(limit)
        )
        return stored

    async def insert_once(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
        key: WriteKey,
    ) -> list[Memory]:
        stored: list[Memory] = await self._edge.call_again(
            "insert_once", memories, embeddings, generation, limit, key
        )
        return stored

    async def search(
        self, query: SearchQuery, embedding: Embeddings, generation: int, limit: RateLimit | None
    ) -> list[Memory]:
        hits: list[Memory] = await self._edge.call_again(
            "search", query, embedding, generation, _Once(limit)
        )
        return hits

    async def insert_each(self, calls: Sequence[InsertCall]) -> list[list[Memory] | MemexError]:
        stored: list[list[Memory] | MemexError] = await self._edge.call_again(
            "insert_each", _Once(calls, lambda: _not_counted(calls))
        )
        return stored

    async def search_each(
        self, calls: Sequence[SearchCall]
    ) -> list[list[Memory] | MemexError | None]:
        hits: list[list[Memory] | MemexError | None] = await self._edge.call_again(
            "search_each", _Once(calls, lambda: _not_counted(calls))
        )
        return hits

    async def get(self, agent_id: str, memory_id: UUID) -> Memory | None:
        memory: Memory | None = await self._edge.call_again("get", agent_id, memory_id)
        return memory

    async def list_page(
        self,
        agent_id: str,
        user_id: str | None,
        memory_type: str | None,
        limit: int,
        after: PageKey | None,
        include_superseded: bool = False,
        filters: ListFilters | None = None,
    ) -> Page:
        page: Page = await self._edge.call_again(
            "list_page", agent_id, user_id, memory_type, limit, after, include_superseded, filters
        )
        return page

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int | None,
        limit: RateLimit | None,
    ) -> Memory | None:
        memory: Memory | None = await self._edge.call_again(
            "update", agent_id, memory_id, patch, embedding, generation, _Once(limit)
        )
        return memory

    async def history(
        self, agent_id: str, memory_id: UUID, before: int | None, limit: int
    ) -> list[MemoryVersion] | None:
        versions: list[MemoryVersion] | None = await self._edge.call_again(
            "history", agent_id, memory_id, before, limit
        )
        return versions

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        deleted: bool = await self._edge.call_once("delete", agent_id, memory_id)
        return deleted

    async def forget(self, agent_id: str, user_id: str) -> int:
        deleted: int = await self._edge.call_once(
            "forget", agent_id, user_id, timeout_s=FORGET_TIMEOUT_S
        )
        return deleted

    async def count(
        self, agent_id: str, user_id: str | None, include_superseded: bool = False
    ) -> int:
        count: int = await self._edge.call_again("count", agent_id, user_id, include_superseded)
        return count

    async def sources(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        sources: list[Memory] | None = await self._edge.call_again("sources", agent_id, memory_id)
        return sources

    async def restore(self, agent_id: str, memory_id: UUID) -> list[Memory] | None:
        restored: list[Memory] | None = await self._edge.call_once("restore", agent_id, memory_id)
        return restored

    async def export(self, agent_id: str, user_id: str | None) -> AsyncGenerator[ExportPage, None]:
        async with aclosing(self._edge.stream("export", agent_id, user_id)) as pages:
            async for page in pages:
                yield page

    async def known(self, agent_id: str, ids: Sequence[UUID]) -> set[UUID]:
        known: set[UUID] = await self._edge.call_again("known", agent_id, ids)
        return known

    async def insert_missing(
        self,
        memories: Sequence[NewMemory],
        embeddings: Embeddings,
        generation: int,
        limit: RateLimit | None,
    ) -> list[Imported]:
        outcomes: list[Imported] = await self._edge.call_again(
            "insert_missing", memories, embeddings, generation, _Once(limit)
        )
        return outcomes

    async def list_agents(self, limit: int, after: str | None) -> TallyPage:
        page: TallyPage = await self._edge.call_again("list_agents", limit, after)
        return page

    async def list_users(self, agent_id: str, limit: int, after: str | None) -> TallyPage:
        page: TallyPage = await self._edge.call_again("list_users", agent_id, limit, after)
        return page

    async def timeline(self, agent_id: str, user_id: str | None, since: date) -> Timeline:
        timeline: Timeline = await self._edge.call_again("timeline", agent_id, user_id, since)
        return timeline


class RemoteSummaryStore:
    """The SummaryStore port over its handle. All may be made twice: a summary whose answer was lost
    is not made again, since its sources are no longer as they were."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = _Edge("store", handle, timeout_s)

    async def adopt_generation(self, identity: ModelIdentity) -> int:
        generation: int = await self._edge.call_again("adopt_generation", identity)
        return generation

    async def scopes_to_condense(
        self, after: tuple[str, str], threshold: int, limit: int
    ) -> list[ScopeToCondense]:
        scopes: list[ScopeToCondense] = await self._edge.call_again(
            "scopes_to_condense", after, threshold, limit
        )
        return scopes

    async def oldest_condensable(
        self, agent_id: str, user_id: str, threshold: int, limit: int
    ) -> list[Source]:
        sources: list[Source] = await self._edge.call_again(
            "oldest_condensable", agent_id, user_id, threshold, limit
        )
        return sources

    async def condense(self, condensation: Condensation) -> Memory | None:
        summary: Memory | None = await self._edge.call_again("condense", condensation)
        return summary

    async def purge_superseded(self, before: datetime) -> int:
        purged: int = await self._edge.call_again("purge_superseded", before)
        return purged


class RemoteSummariser:
    """The Summariser port over its handle. A pass takes as long as it is given, and some more."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = _Edge("summariser", handle, timeout_s)
        self._timeout_s = timeout_s

    async def run(self, agent_id: str | None, user_id: str | None, budget_s: float) -> PassReport:
        report: PassReport = await self._edge.call_once(
            "run", agent_id, user_id, budget_s, timeout_s=budget_s + self._timeout_s
        )
        return report


class RemoteReranker:
    """The Reranker port over its handle.

    A search is complete without it and waits only so long: no call is made twice, and one that is
    late is cancelled, so that its replica does not go on with what nobody waits for.
    """

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = _Edge("reranker", handle, timeout_s, cancel_late=True)

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        scores: list[float] = await self._edge.call_once("scores", query, texts)
        return scores


class _Once:
    """An argument of the first try; `later` gives it in those after it."""

    def __init__(self, value: object, later: Callable[[], object] = lambda: None) -> None:
        self.value = value
        self.later = later


def _not_counted(calls: Sequence[_Call]) -> list[_Call]:
    return [replace(call, limit=None) for call in calls]


class _Edge:
    """Calls to one deployment. With `cancel_late`, one that nobody waits for any longer is
    cancelled in its replica too; without, a late one is left to end there."""

    def __init__(
        self, part: str, handle: DeploymentHandle, timeout_s: float, cancel_late: bool = False
    ) -> None:
        self._part = part
        self._handle = handle
        self._timeout_s = timeout_s
        self._cancel_late = cancel_late

    async def call_again(self, method: str, *args: Any) -> Any:
        """A call that may be made twice: tried on another replica when one dies under it."""
        given = [arg.value if isinstance(arg, _Once) else arg for arg in args]
        try:
            async with asyncio.timeout(self._timeout_s):
                for attempt in range(_ATTEMPTS):
                    if attempt == 1:
                        given = [arg.later() if isinstance(arg, _Once) else arg for arg in args]
                    try:
                        return await self._call(method, *given)
                    except _ReplicaDied:
                        await asyncio.sleep(_PAUSE_S * 2**attempt)
        except TimeoutError as error:
            raise Unavailable(self._part) from error
        raise Unavailable(self._part)

    async def call_once(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._call(method, *args)
        except (_ReplicaDied, TimeoutError) as error:
            raise Unavailable(self._part) from error

    async def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """What a generator there yields, each when it is asked for: Ray's gRPC, which memex runs
        with, lets the other side go ahead by its window alone. Closing this cancels the other side.

        When a replica dies before the first item, another one is tried.
        """
        begun = False
        for attempt in range(_ATTEMPTS):
            response = getattr(self._handle.options(stream=True), method).remote(*args)
            try:
                while True:
                    try:
                        async with asyncio.timeout(self._timeout_s):
                            with self._named_errors():
                                item = await anext(response)
                    except StopAsyncIteration:
                        return
                    begun = True
                    yield item
            except (_ReplicaDied, TimeoutError) as error:
                if begun or isinstance(error, TimeoutError):
                    raise Unavailable(self._part) from error
            finally:
                response.cancel()
            await asyncio.sleep(_PAUSE_S * 2**attempt)
        raise Unavailable(self._part)

    async def _call(self, method: str, *args: Any) -> Any:
        with self._named_errors(), carried(self._part, method) as extra:
            response = getattr(self._handle, method).remote(*args, **extra)
            try:
                return await response
            except asyncio.CancelledError:  # late, or the request has gone away
                if self._cancel_late:
                    response.cancel()
                raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turns Ray's many ways to fail into ours; raises _ReplicaDied where another may do."""
        try:
            yield
        except (MemexError, Fault):  # raised in the replica; or it comes as a RayTaskError below
            raise
        except RayTaskError as error:
            raise _unwrapped(error, self._part) from None
        except RayActorError as error:
            raise _ReplicaDied from error
        except (RayServeException, RayError, grpc.RpcError) as error:
            raise Unavailable(self._part) from error


class _ReplicaDied(Exception):
    pass


def _unwrapped(error: RayTaskError, part: str) -> Exception:
    """The error as it was raised in the replica: ours as it is; another is a fault, without its
    words, which may quote a memory."""
    cause = error.cause
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    if isinstance(cause, MemexError | Fault):
        return cause
    if isinstance(cause, BackPressureError):
        return Unavailable(part)
    return Fault(type(cause).__name__)
