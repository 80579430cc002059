"""The HTTP client with which `memex export` and `memex import` call a running service."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import httpx2

from deployments.domain.errors import TransferFailed
from serve_app.operations.http import reason_of, valid_url
from serve_app.web.jsonl import MEDIA_TYPE

_CONNECT_TIMEOUT_S = 10.0
_SILENCE_TIMEOUT_S = 600.0  # an import's part may wait for its turn at the embedder
_TOTAL_HEADER = "X-Memex-Memories"


@dataclass(frozen=True, slots=True)
class Export:
    """An export that has begun: its number of memories, and its bytes."""

    total: int
    chunks: AsyncIterator[bytes]


class Refused(TransferFailed):
    """The service refuses for now; the same request may succeed after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float, is_rate_limit: bool) -> None:
        super().__init__(message, retry_after_s, is_rate_limit)
        self.message = message
        self.retry_after_s = retry_after_s
        self.is_rate_limit = is_rate_limit

    def __str__(self) -> str:
        return self.message


class Client:
    """A client of the service at `url`. Raises InvalidInput for an unusable URL."""

    def __init__(self, url: str) -> None:
        self._url = valid_url(url).rstrip("/")

    async def __aenter__(self) -> Self:
        timeout = httpx2.Timeout(_SILENCE_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        self._http = httpx2.AsyncClient(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def export(self, agent_id: str, user_id: str | None) -> AsyncIterator[Export]:
        """Raises TransferFailed, also in the block."""
        scope = {"agent_id": agent_id} | ({} if user_id is None else {"user_id": user_id})
        with self._named_failures():
            url = f"{self._url}/v1/memories/export"
            async with self._http.stream("GET", url, params=scope) as answer:
                await self._check(answer)
                total = answer.headers.get(_TOTAL_HEADER, "")
                if not total.isdecimal():
                    raise self._is_not_memex()
                yield Export(int(total), answer.aiter_bytes())

    async def store(self, agent_id: str, lines: bytes) -> list[dict[str, Any]]:
        """Store memories; the answer's lines. Raises Refused, TransferFailed."""
        with self._named_failures():
            answer = await self._http.post(
                f"{self._url}/v1/memories/import",
                params={"agent_id": agent_id},
                content=lines,
                headers={"Content-Type": MEDIA_TYPE},
            )
            await self._check(answer)
        try:
            outcomes = [json.loads(line) for line in answer.content.splitlines()]
            if isinstance(outcomes[-1]["stored"], int):
                return outcomes
        except (ValueError, LookupError, TypeError):
            pass
        raise self._is_not_memex()

    async def _check(self, answer: httpx2.Response) -> None:
        """Raises Refused or TransferFailed with the service's own reason unless the status is
        200."""
        if answer.status_code == HTTPStatus.OK:
            return
        detail = _detail(await answer.aread()) or answer.reason_phrase
        message = f"{self._url} answers {answer.status_code}: {detail}"
        is_rate_limit = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
        # HAProxy answers 500 if a replica has died.
        if is_rate_limit or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = answer.headers.get("Retry-After", "")
            raise Refused(message, float(wait) if wait.isdecimal() else 1.0, is_rate_limit)
        raise TransferFailed(message)

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise TransferFailed(f"{self._url} cannot be reached: {reason_of(error)}") from None
        except httpx2.HTTPError as error:
            reason = type(error).__name__
            raise Refused(f"the connection to {self._url} failed ({reason})", 1.0, False) from None

    def _is_not_memex(self) -> TransferFailed:
        return TransferFailed(f"{self._url} is not memex: unexpected answer")


def _detail(content: bytes) -> str | None:
    """The service's own reason for an error."""
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, LookupError, TypeError):
        return None
