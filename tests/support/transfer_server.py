"""A service that answers every export with the same body."""

import asyncio
from typing import Any, Self

from aiohttp import web


class Server:
    """Answers exports with `body`; `cut_off` closes the connection before the body ends.

    `total` is the value of `X-Memex-Memories`; the header is missing if it is empty.
    """

    def __init__(
        self, body: bytes, status: int = 200, total: str = "2", cut_off: bool = False
    ) -> None:
        self._body, self._status, self._total, self._cut_off = body, status, total, cut_off
        self.queries: list[dict[str, str]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v1/memories/export", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        headers: dict[str, Any] = {"X-Memex-Memories": self._total} if self._total else {}
        answer = web.StreamResponse(status=self._status, headers=headers)
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(self._body)
        if self._cut_off:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        await answer.write_eof()
        return answer
