"""A running service, as `memex export` and `memex import` reach it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp

from deployments.domain.errors import TransferFailed
from serve_app.operations.service_url import checked
from serve_app.web.jsonl import MEDIA_TYPE

_CONNECT_TIMEOUT_S = 10.0
_SILENCE_TIMEOUT_S = 600.0  # an import's part may wait for its turn at the embedder
_TOTAL_HEADER = "X-Memex-Memories"


@dataclass(frozen=True, slots=True)
class Export:
    """One that has begun: how many memories it will have, and its bytes."""

    total: int
    chunks: AsyncIterator[bytes]


class Refused(TransferFailed):
    """The service refuses for now; it may take the same after `retry_after_s`."""

    def __init__(self, said: str, retry_after_s: float, is_rate_limit: bool) -> None:
        super().__init__(said, retry_after_s, is_rate_limit)
        self.said = said
        self.retry_after_s = retry_after_s
        self.is_rate_limit = is_rate_limit

    def __str__(self) -> str:
        return self.said


class Client:
    """Of the service at `url`. Raises InvalidInput for what is no URL."""

    def __init__(self, url: str) -> None:
        self._url = checked(url).rstrip("/")

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(
            total=None, connect=_CONNECT_TIMEOUT_S, sock_read=_SILENCE_TIMEOUT_S
        )
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def export(self, agent_id: str, user_id: str | None) -> AsyncIterator[Export]:
        """Raises TransferFailed, also from within the block."""
        scope = {"agent_id": agent_id} | ({} if user_id is None else {"user_id": user_id})
        with self._named_failures():
            async with self._session.get(f"{self._url}/v1/memories/export", params=scope) as answer:
                await self._check(answer)
                total = answer.headers.get(_TOTAL_HEADER, "")
                if not total.isdecimal():
                    raise self._is_not_memex()
                yield Export(int(total), answer.content.iter_any())

    async def store(self, agent_id: str, lines: bytes) -> list[dict[str, Any]]:
        """The answer's lines. Raises Refused, TransferFailed."""
        with self._named_failures():
            async with self._session.post(
                f"{self._url}/v1/memories/import",
                params={"agent_id": agent_id},
                data=lines,
                headers={"Content-Type": MEDIA_TYPE},
            ) as answer:
                await self._check(answer)
                content = await answer.read()
        try:
            said = [json.loads(line) for line in content.splitlines()]
            if isinstance(said[-1]["stored"], int):
                return said
        except (ValueError, LookupError, TypeError):
            pass
        raise self._is_not_memex()

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Raises what the service says of a request that it does not carry out."""
        if answer.status == HTTPStatus.OK:
            return
        detail = _detail(await answer.read()) or answer.reason or ""
        said = f"{self._url} answers {answer.status}: {detail}"
        is_rate_limit = answer.status == HTTPStatus.TOO_MANY_REQUESTS
        # HAProxy says 500 where a replica has died.
        if is_rate_limit or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = answer.headers.get("Retry-After", "")
            raise Refused(said, float(wait) if wait.isdecimal() else 1.0, is_rate_limit)
        raise TransferFailed(said)

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        try:
            yield
        except aiohttp.ClientConnectorError as error:
            reason = error.strerror or str(error)
            raise TransferFailed(f"{self._url} cannot be reached: {reason}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
            raise Refused(f"{self._url} broke off ({reason})", 1.0, False) from None

    def _is_not_memex(self) -> TransferFailed:
        return TransferFailed(f"{self._url} is not memex: its answer is another one's")


def _detail(content: bytes) -> str | None:
    """What went wrong in the service's words."""
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, LookupError, TypeError):
        return None
