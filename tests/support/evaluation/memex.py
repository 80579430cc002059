"""A service of a few lines, for the evaluation."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Step = Callable[[], Awaitable[web.StreamResponse]]
Interfere = Callable[[web.Request, Any, Step], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    body: Any
    size: int


class FakeMemex:
    """The API's shape over a dict; it ranks by the words that query and content share."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.memories: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.interfere: Interfere = _leave_alone
        self.app = web.Application(client_max_size=1024**2)
        self.app.router.add_get("/health", self._health)
        self.app.router.add_delete("/v1/memories", self._forget)
        self.app.router.add_get("/v1/memories/count", self._count)
        self.app.router.add_post("/v1/memories/batch", self._store)
        self.app.router.add_post("/v1/memories/search", self._search)
        self.app.middlewares.append(self._observed)

    def bodies(self, path: str) -> list[Any]:
        return [seen.body for seen in self.seen if seen.path == path]

    @web.middleware
    async def _observed(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else dict(request.query)
        self.seen.append(Seen(request.method, request.path, body, len(raw)))
        return await self.interfere(request, body, lambda: handler(request))

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "db": "ok", "embedder": "ok", "version": "9.9"})

    async def _forget(self, request: web.Request) -> web.Response:
        gone = self.memories.pop(_owner(request.query), [])
        return web.json_response({"deleted": len(gone)})

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
        found = [
            {**memory, "score": len(words & set(memory["content"].lower().strip(".").split()))}
            for memory in self.memories.get(_owner(query), [])
            if memory["created_at"] <= query["as_of"]
        ]
        found.sort(key=lambda memory: -memory["score"])
        return web.json_response({"results": found[: query["top_k"]]})


async def _leave_alone(_request: web.Request, _body: Any, step: Step) -> web.StreamResponse:
    return await step()


def _owner(fields: Any) -> tuple[str, str]:
    return fields["agent_id"], fields["user_id"]
