"""Serve's own answers, made by Serve's own functions, and those of applications."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from http import HTTPStatus
from typing import Any

import httpx2
import pytest
from ray.serve._private.http_util import convert_object_to_asgi_messages
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.web.problem import problem
from serve_app.web.serve_answers import ServeAnswers
from tests.support.rest_calls import assert_problem

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

_PATIENCE_S = 0.05
_waits: ContextVar[bool] = ContextVar("waits", default=False)


def waits(context: Context) -> bool:
    return context.get(_waits, False)


def serve(status: int, text: str = "Traceback: 10.0.0.7 died", **headers: str) -> ASGIApp:
    """An application for which Serve answers."""
    extra = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in convert_object_to_asgi_messages(text, status, extra):
            await send(message)

    return app


async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return None


async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("no controller")


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def get(app: ASGIApp, path: str = "/v1/memories", **options: Any) -> httpx2.Response:
    async with client_of(ServeAnswers(app, **options)) as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (serve(404, "Path '/v1/memories' not found. Ping http://.../-/routes"), 503),
        (serve(500), 503),
        (serve(503), 503),
        (serve(408), 408),
        (serve(429), 429),
        (silent, 503),
        (failing, 503),
    ],
)
@pytest.mark.parametrize("is_proxy", [False, True])
async def test_serves_own_answers_become_problems(
    app: ASGIApp, status: int, is_proxy: bool
) -> None:
    answer = await get(app, is_waiting=waits if is_proxy else None)
    assert_problem(answer, status)
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["cache-control"] == "no-store"
    assert "10.0.0.7" not in answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_failure_of_serve_reaches_its_log() -> None:
    app = ServeAnswers(failing)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(RuntimeError, match="no controller"):
            await client.get("/")


async def _parts() -> AsyncIterator[str]:
    yield "a"
    yield "b"


@pytest.mark.parametrize(
    "own",
    [
        lambda: PlainTextResponse("not here", 404),
        lambda: PlainTextResponse("oops", 500),
        lambda: PlainTextResponse("later", 503),
        lambda: problem(HTTPStatus.NOT_FOUND, "no such memory belongs to this agent"),
        lambda: StreamingResponse(_parts(), media_type="text/plain"),
        lambda: Response(status_code=204),
    ],
)
@pytest.mark.parametrize("is_proxy", [False, True])
async def test_answers_of_applications_are_left_as_they_are(
    own: Callable[[], Response], is_proxy: bool
) -> None:
    async with client_of(own()) as client:
        expected = await client.get("/")
    answer = await get(own(), is_waiting=waits if is_proxy else None)
    assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
    assert answer.headers == expected.headers


@pytest.mark.parametrize("path", ["/-/healthz", "/-/routes"])
async def test_serves_own_routes_are_left_as_they_are(path: str) -> None:
    answer = await get(serve(503, "No replicas are available yet."), path)
    assert (answer.status_code, answer.text) == (503, "No replicas are available yet.")


async def test_other_path_with_the_end_of_serves_route_is_not_serves() -> None:
    assert_problem(await get(serve(404), "/v1/-/healthz"), 503)


async def test_request_that_no_replica_takes_is_refused_and_cancelled() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _waits.set(True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            await serve(499)(scope, receive, send)  # comes too late

    answer = await get(app, is_waiting=waits, patience_s=_PATIENCE_S)
    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert cancelled.is_set()


async def test_request_whose_replica_dies_is_refused_if_no_other_takes_it() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(3 * _PATIENCE_S)
        _waits.set(True)
        await asyncio.Event().wait()

    assert_problem(await get(app, is_waiting=waits, patience_s=_PATIENCE_S), 503)


async def test_request_that_a_replica_has_taken_may_take_long() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _waits.set(True)
        await asyncio.sleep(_PATIENCE_S / 2)
        _waits.set(False)
        await asyncio.sleep(4 * _PATIENCE_S)
        await PlainTextResponse("done")(scope, receive, send)

    answer = await get(app, is_waiting=waits, patience_s=_PATIENCE_S)
    assert answer.text == "done"


async def test_answer_that_has_begun_is_not_cut_off() -> None:
    async def slow() -> AsyncIterator[str]:
        yield "a"
        _waits.set(True)
        await asyncio.sleep(3 * _PATIENCE_S)
        yield "b"

    app = StreamingResponse(slow(), media_type="text/plain")
    answer = await get(app, is_waiting=waits, patience_s=_PATIENCE_S)
    assert answer.text == "ab"


async def test_client_that_goes_away_cancels_the_request() -> None:
    cancelled = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(get(app, is_waiting=waits))
    await asyncio.sleep(_PATIENCE_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
