"""The middleware that Serve imports, in Serve's own hands."""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest
from ray.serve import context as serve_context
from ray.serve._private import http_util
from starlette.types import Receive, Scope, Send

from serve_app.request_ids import is_waiting, middlewares
from serve_app.web.request_id import CALLBACK, HEADER
from tests.support.rest_calls import assert_problem


async def not_deployed(_scope: Scope, _receive: Receive, send: Send) -> None:
    for message in http_util.convert_object_to_asgi_messages("Path '/' not found. Ping", 404):
        await send(message)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """Of a server of Serve's that has no application."""
    wanted = http_util.validate_http_proxy_callback_return(middlewares())
    app = http_util._apply_middlewares(not_deployed, wanted)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def test_serve_finds_the_middleware() -> None:
    module, _, name = CALLBACK.partition(":")
    assert (module, name) == (middlewares.__module__, middlewares.__name__)


async def test_serves_own_answer_is_a_problem_with_one_id(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/", headers={HEADER: "mine"})
    assert_problem(answer, 503)
    assert answer.headers.get_list(HEADER) == ["mine"]
    answer = await client.get("/", headers={HEADER: "two words"})
    (request_id,) = answer.headers.get_list(HEADER)
    uuid.UUID(request_id)


async def test_request_waits_until_a_replica_takes_it() -> None:
    context = contextvars.copy_context()
    assert not is_waiting(context)
    request = serve_context._RequestContext(_internal_request_id="one")
    context.run(serve_context._serve_request_context.set, request)
    assert not is_waiting(context)
    task = asyncio.ensure_future(asyncio.sleep(0))
    serve_context._add_request_pending_assignment("one", "answer", task)
    assert is_waiting(context)
    serve_context._remove_request_pending_assignment("one", "answer")
    assert not is_waiting(context)
    await task
