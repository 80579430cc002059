"""Requests to the service. 429 and 503 are repeated; other failures raise ServiceError."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import httpx2

from evaluation.errors import ServiceError

_REQUEST_TIMEOUT_S = 120.0
_PATIENCE_S = 300.0
_SHORTEST_WAIT_S = 0.05
_LONGEST_WAIT_S = 300.0
_RATE_LIMIT_WARNING = (
    "the service's rate limits slow this down; to switch them off, start it with "
    "MEMEX_RATE_LIMIT_WRITES_PER_MINUTE=0 and MEMEX_RATE_LIMIT_SEARCHES_PER_MINUTE=0"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, and the duration of its request (without repeated ones)."""

    body: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The outcome of one request; no answer counts as a 503."""

    status: int
    content: bytes
    seconds: float
    retry_after: str | None
    problem: str


class Connection:
    """A connection to the service at `url`. Calls `log` once if rate limits slow it down. Gives up
    on a reachable service after it has failed to answer, or answered 503, for `patience_s`."""

    def __init__(
        self, url: str, log: Callable[[str], None], *, patience_s: float = _PATIENCE_S
    ) -> None:
        self.url = url
        self._patience_s = patience_s
        self.repeated = 0
        self._log = log
        self._has_warned = False

    async def __aenter__(self) -> Self:
        timeout = httpx2.Timeout(_REQUEST_TIMEOUT_S)
        self._http = httpx2.AsyncClient(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Any = None,
        is_done: Callable[[], Awaitable[bool]] | None = None,
        patient: bool = True,
    ) -> Answer | None:
        """The answer. If a request must not be carried out twice, give `is_done`: it checks after
        an unknown outcome whether the request was carried out; if so, there is no answer (None)."""
        failing_since: float | None = None
        while True:
            attempt = await self._attempt(method, path, params, body)
            if 200 <= attempt.status < 300:
                return Answer(self._from_json(attempt.content), attempt.seconds)
            if attempt.status == 429:
                failing_since = None
                self._warn_of_rate_limits()
            elif attempt.status == 503:
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if not patient or now - failing_since >= self._patience_s:
                    raise ServiceError(f"{self.url} is not available: {attempt.problem}")
            else:
                raise ServiceError(f"{self.url} refused {attempt.problem}")
            await asyncio.sleep(_wait_s(attempt.retry_after))
            if attempt.status == 503 and is_done is not None and await is_done():
                return None
            self.repeated += 1

    async def _attempt(
        self, method: str, path: str, params: dict[str, str] | None, body: Any
    ) -> _Attempt:
        data = None if body is None else body if isinstance(body, bytes) else to_json(body)
        headers = None if body is None else {"Content-Type": "application/json"}
        name = f"{method} {path}"
        sent = time.perf_counter()
        try:
            answer = await self._http.request(
                method, self.url + path, params=params, content=data, headers=headers
            )
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            example = "http://127.0.0.1:8000"
            raise ServiceError(f"{self.url} is not a service's URL, such as {example}") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise ServiceError(f"{self.url} cannot be reached: {_root_of(error)}") from None
        except httpx2.HTTPError as error:
            return _Attempt(503, b"", 0.0, None, f"{name}: no answer ({type(error).__name__})")
        seconds = time.perf_counter() - sent
        problem = f"{name}: {answer.status_code} {_detail(answer.content, answer.reason_phrase)}"
        retry_after = answer.headers.get("Retry-After")
        return _Attempt(answer.status_code, answer.content, seconds, retry_after, problem)

    def _warn_of_rate_limits(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._log(_RATE_LIMIT_WARNING)

    def _from_json(self, content: bytes) -> Any:
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise ServiceError(f"{self.url} is not memex: its answer is not JSON") from None


def to_json(value: Any) -> bytes:
    """Compact JSON, for a request's body."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _detail(content: bytes, reason: str | None) -> str:
    """The service's reason: a problem's `detail`, the parts that are down, or the status's name."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        if isinstance(body.get("detail"), str):
            return str(body["detail"])
        down = [name for name in ("db", "embedder") if body.get(name, "ok") != "ok"]
        if down:
            return f"({' and '.join(down)} down)"
    return reason or ""


def _root_of(error: BaseException) -> BaseException:
    """The system's own error, which the HTTP client wraps."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _wait_s(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or 1)
    except ValueError:  # a date; memex does not send any
        seconds = 1.0
    return min(max(seconds, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)
