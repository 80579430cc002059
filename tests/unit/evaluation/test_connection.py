import json
from typing import Any

import pytest
from aiohttp import web

from evaluation.connection import Connection
from evaluation.errors import ServiceError
from tests.support.evaluation.memex import FakeMemex, Proceed

SEARCH = "/v1/memories/search"


async def test_request_fails_if_the_service_stays_down(memex: FakeMemex) -> None:
    async def down(_request: web.Request, _body: Any, _proceed: Proceed) -> web.StreamResponse:
        body = json.dumps({"status": 503, "detail": "the embedder is away"})
        return web.Response(status=503, text=body, headers={"Retry-After": "0"})

    memex.intercept = down
    lines: list[str] = []
    async with Connection(memex.url, lines.append, patience_s=0.2) as connection:
        with pytest.raises(ServiceError) as error:
            await connection.request("POST", SEARCH, body={"query": "q"})
    assert str(error.value) == (
        f"{memex.url} is not available: POST /v1/memories/search: 503 the embedder is away"
    )
    assert connection.repeated > 1
    assert lines == []
