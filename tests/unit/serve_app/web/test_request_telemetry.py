"""A request's id and its log line."""

import logging
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.web.request_context import current_requests
from serve_app.web.request_id import HEADER, RequestIds
from serve_app.web.request_telemetry import RequestTelemetry
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import InMemoryStore
from tests.support.recorded import RecordedMetrics

SEARCH = {"agent_id": "a", "user_id": "u", "query": "her secret is a blue door"}


def log_record(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    (record,) = [r for r in caplog.records if r.name.startswith("ray.serve")]
    return record


async def test_successful_request_is_not_logged(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await client.post("/v1/memories/search", json=SEARCH)).status_code == 200
    assert (await client.post("/v1/memories/search", json={})).status_code == 422
    assert (await client.get("/v1/memories/x?agent_id=a")).status_code == 422
    assert (await client.get("/nowhere")).status_code == 404
    assert [r for r in caplog.records if r.name.startswith("ray.serve")] == []


async def test_failed_request_is_logged_with_its_id(
    client: httpx2.AsyncClient, store: InMemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.rows.down = True
    answer = await client.post("/v1/memories/search", json=SEARCH, headers={HEADER: "mine-1"})
    assert answer.status_code == 503
    record = log_record(caplog)
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "POST /v1/memories/search 503: the database is not available right now"
    )
    assert record.request_id == "mine-1"  # type: ignore[attr-defined]
    assert record.duration_ms >= 0  # type: ignore[attr-defined]


async def test_fault_is_logged_with_its_traceback(
    client: httpx2.AsyncClient,
    embedder: FakeEmbedder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_args: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(embedder, "embed", fails)
    answer = await client.post("/v1/memories/search", json=SEARCH)
    assert answer.status_code == 500
    record = log_record(caplog)
    assert (record.levelname, record.getMessage()) == ("ERROR", "POST /v1/memories/search 500")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


async def test_unhealthy_answer_is_logged_with_what_is_down(
    client: httpx2.AsyncClient, embedder: FakeEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    embedder.down = True
    assert (await client.get("/health")).status_code == 503
    assert log_record(caplog).getMessage() == (
        "GET /health 503: the embedder is not available right now"
    )


async def test_interrupted_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("oops")

    with pytest.raises(KeyError):
        async with client_for(
            RequestTelemetry(breaks, RecordedMetrics(), lambda _scope: "/x")
        ) as client:
            await client.get("/x")
    assert log_record(caplog).getMessage() == "GET /x 200"


def client_for(app: ASGIApp) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost")


class Serve:
    """Copies the request's id header into the answer, as Serve's own middleware does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        value = dict(scope["headers"])[b"x-request-id"]

        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                message = {**message, "headers": [*headers, (b"x-request-id", value)]}
            await send(message)

        await self._app(scope, receive, with_header)


@pytest.fixture
async def echo() -> AsyncIterator[httpx2.AsyncClient]:
    """An application that answers with the request id that its calls to nodes would have."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        (request,) = current_requests()
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": request.request_id.encode()})

    async with client_for(
        RequestIds(Serve(RequestTelemetry(app, RecordedMetrics(), lambda _scope: "/")))
    ) as client:
        yield client


@pytest.mark.parametrize("value", ["a", "!~" * 64, str(uuid.UUID(int=7)), "with,comma"])
async def test_valid_request_id_is_kept(echo: httpx2.AsyncClient, value: str) -> None:
    answer = await echo.get("/", headers={HEADER: value})
    assert answer.text == value
    assert answer.headers.get_list(HEADER) == [value]


@pytest.mark.parametrize(
    "values",
    [[], [b""], [b"x" * 129], [b"two words"], [b"\xc3\xa4"], [b"\xff"], [b"a\tb"], [b"a", b"b"]],
)
async def test_invalid_request_id_is_replaced(
    echo: httpx2.AsyncClient, values: list[bytes]
) -> None:
    headers = [(HEADER.encode(), value) for value in values]
    answer = await echo.get("/", headers=headers)
    assert answer.headers.get_list(HEADER) == [answer.text]
    assert str(uuid.UUID(answer.text)) == answer.text


async def test_application_without_serve_has_request_ids(
    client: httpx2.AsyncClient, store: InMemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.rows.down = True
    await client.post("/v1/memories/search", json=SEARCH)
    assert uuid.UUID(log_record(caplog).request_id)  # type: ignore[attr-defined]
