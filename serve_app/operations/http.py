"""HTTP for commands: checked URLs, one-line errors, and GET requests that ignore proxies, because
the service usually runs on this machine."""

import functools
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from deployments.domain.errors import InvalidInput

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; its body is decoded as text."""

    status: int
    body: str

    def json(self) -> Any:
        """None if the body is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def problem(self) -> str | None:
        """Its status and detail if the body is a problem (RFC 9457), else None."""
        body = self.json()
        if isinstance(body, dict) and body.get("status") == self.status and "detail" in body:
            return f"{self.status}, {body['detail']}"
        return None


class NoAnswer(Exception):
    """Nothing answers at the URL; the message is the reason."""


def valid_url(url: str, example: str = "http://127.0.0.1:8000") -> str:
    """`url`, if it is an HTTP URL. Otherwise raises InvalidInput with the example."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or " " in url:
        raise InvalidInput("--url", f"must be like {example}")
    return url


def get(url: str, headers: dict[str, str] | None = None, timeout_s: float = _TIMEOUT_S) -> Answer:
    """Send a GET request, ignoring `http_proxy`. Raises NoAnswer."""
    try:
        response = _client().get(url, headers=headers, timeout=timeout_s)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise NoAnswer(reason_of(error)) from None
    return Answer(response.status_code, response.text)


@functools.cache
def _client() -> httpx2.Client:
    """One client for all requests, because each reads the system's certificates in 20 ms."""
    return httpx2.Client(trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0))


def reason_of(error: BaseException) -> str:
    """Why a request failed, in the operating system's words if it has any."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx2.TimeoutException):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
