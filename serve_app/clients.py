"""Deployment handles as the domain's ports: deadlines, safe retries, errors unwrapped once."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import grpc
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.domain.errors import MemexError, Unavailable
from deployments.domain.types import (
    Embeddings,
    Memory,
    MemoryPatch,
    ModelIdentity,
    NewMemory,
    Page,
    PageKey,
    RateLimit,
    SearchQuery,
    TextKind,
)

_ATTEMPTS = 3


class RemoteEmbedder:
    """The Embedder port over its handle. Embedding twice is harmless, so all calls are retried."""

    def __init__(self, handle: DeploymentHandle, timeout_s: float) -> None:
        self._edge = _Edge("embedder", handle, timeout_s)

    async def identity(self) -> ModelIdentity:
        identity: ModelIdentity = await self._edge.call_again("identity")
        return identity

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        embeddings: Embeddings = await self._edge.call_again("embed", texts, kind)
        return embeddings


class RemoteStore:
    """The MemoryStore port over its handle.

    Reads are retried when a replica dies under them, and so are writes that may be made twice:
    an insert's ids are its caller's, an update sets values. Deletions are not: a second one would
    report that there was nothing.
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
            "insert", memories, embeddings, generation, limit
        )
        return stored

    async def search(
        self, query: SearchQuery, embedding: Embeddings, generation: int, limit: RateLimit | None
    ) -> list[Memory]:
        hits: list[Memory] = await self._edge.call_again(
            "search", query, embedding, generation, limit
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
    ) -> Page:
        page: Page = await self._edge.call_again(
            "list_page", agent_id, user_id, memory_type, limit, after
        )
        return page

    async def update(
        self,
        agent_id: str,
        memory_id: UUID,
        patch: MemoryPatch,
        embedding: Embeddings | None,
        generation: int,
        limit: RateLimit | None,
    ) -> Memory | None:
        memory: Memory | None = await self._edge.call_again(
            "update", agent_id, memory_id, patch, embedding, generation, limit
        )
        return memory

    async def delete(self, agent_id: str, memory_id: UUID) -> bool:
        deleted: bool = await self._edge.call_once("delete", agent_id, memory_id)
        return deleted

    async def forget(self, agent_id: str, user_id: str) -> int:
        deleted: int = await self._edge.call_once("forget", agent_id, user_id)
        return deleted

    async def count(self, agent_id: str, user_id: str | None) -> int:
        count: int = await self._edge.call_again("count", agent_id, user_id)
        return count


class _Edge:
    """Calls to one deployment."""

    def __init__(self, part: str, handle: DeploymentHandle, timeout_s: float) -> None:
        self._part = part
        self._handle = handle
        self._timeout_s = timeout_s

    async def call_again(self, method: str, *args: Any) -> Any:
        """A call that may be made twice: tried on another replica when one dies under it."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._call(method, *args)
            except _ReplicaDied:
                continue
        return await self.call_once(method, *args)

    async def call_once(self, method: str, *args: Any) -> Any:
        try:
            return await self._call(method, *args)
        except _ReplicaDied as error:
            raise Unavailable(self._part) from error

    async def _call(self, method: str, *args: Any) -> Any:
        response = getattr(self._handle, method).remote(*args)
        try:
            return await asyncio.wait_for(response, self._timeout_s)
        except MemexError:  # raised in the replica; it comes as it is, or as a RayTaskError below
            raise
        except RayTaskError as error:
            raise _unwrapped(error, self._part) from None
        except RayActorError as error:
            raise _ReplicaDied from error
        except (TimeoutError, RayServeException, RayError, grpc.RpcError) as error:
            raise Unavailable(self._part) from error


class _ReplicaDied(Exception):
    pass


def _unwrapped(error: RayTaskError, part: str) -> Exception:
    """The error as it was raised in the replica: ours as it is; another is a fault of ours."""
    cause = error.cause
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    if isinstance(cause, MemexError):
        return cause
    if isinstance(cause, BackPressureError):
        return Unavailable(part)
    return RuntimeError(f"a call to the {part} failed: {cause!r}")
