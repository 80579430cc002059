"""A minimal memex service for the tests of the evaluation."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Proceed = Callable[[], Awaitable[web.StreamResponse]]
"""Answer the request as usual."""
Intercept = Callable[[web.Request, Any, Proceed], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that the service received; `size` is its body's bytes."""

    method: str
    path: str
    body: Any
    size: int


class FakeMemex:
    """The API over a dict; it ranks by how many words the query and the content share.

    `intercept` answers every request; it may call `proceed` for the usual answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ReceivedRequest] = []
        self.memories: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.intercept: Intercept = _pass_through
        self.app = web.Application(client_max_size=1024**2)
        self.app.router.add_get("/health", self._health)
        self.app.router.add_delete("/v1/memories", self._forget)
        self.app.router.add_get("/v1/memories/count", self._count)
        self.app.router.add_post("/v1/memories/batch", self._store)
        self.app.router.add_post("/v1/memories/search", self._search)
        self.app.middlewares.append(self._intercepted)

    def bodies(self, path: str) -> list[Any]:
        return [request.body for request in self.requests if request.path == path]

    @web.middleware
    async def _intercepted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else dict(request.query)
        self.requests.append(ReceivedRequest(request.method, request.path, body, len(raw)))
        return await self.intercept(request, body, lambda: handler(request))

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "db": "ok", "embedder": "ok", "version": "9.9"})

    async def _forget(self, request: web.Request) -> web.Response:
        deleted = self.memories.pop(_owner(request.query), [])
        return web.json_response({"deleted": len(deleted)})

    async def _count(self, request: web.Request) -> web.Response:
        return web.json_response({"count": len(self.memories.get(_owner(request.query), []))})

    async def _store(self, request: web.Request) -> web.Response:
        memories = (await request.json())["memories"]
        for memory in memories:
            self.memories.setdefault(_owner(memory), []).append(memory)
        return web.json_response({"memories": memories}, status=201)

    async def _search(self, request: web.Request) -> web.Response:
        query = await request.json()
        words = set(query["query"].lower().strip("?").split())
        hits = [
            {**memory, "score": len(words & set(memory["content"].lower().strip(".").split()))}
            for memory in self.memories.get(_owner(query), [])
            if memory["created_at"] <= query["as_of"]
        ]
        hits.sort(key=lambda memory: -memory["score"])
        return web.json_response({"results": hits[: query["top_k"]]})


async def _pass_through(_request: web.Request, _body: Any, proceed: Proceed) -> web.StreamResponse:
    return await proceed()


def _owner(fields: Any) -> tuple[str, str]:
    return fields["agent_id"], fields["user_id"]
