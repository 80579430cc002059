"""Clients that call a service all the time, and what they see."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

_SCOPE = {"agent_id": "watched", "user_id": "u"}
_HEALTH = ("/health", "/health/ready")
_TIMEOUT_S = 10.0
_PAUSE_S = 0.02  # leaves the processor to the service
_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}


def _mcp(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


# Rate-limited.
_WRITES_AND_SEARCHES = {"/v1/memories", "/v1/memories/search"}

# One client for each list.
_CALLS: tuple[tuple[tuple[str, str, Any], ...], ...] = (
    (
        ("POST", "/v1/memories", {**_SCOPE, "content": "stored while replicas are killed"}),
        ("POST", "/v1/memories/search", {**_SCOPE, "query": "replicas"}),
        ("GET", "/v1/memories?agent_id=watched", None),
        ("HEAD", "/v1/agents", None),
    ),
    (
        ("GET", "/health", None),
        ("GET", "/health/live", None),
        ("HEAD", "/health/ready", None),
    ),
    (
        ("GET", "/metrics", None),
        ("GET", "/console", None),
        ("GET", "/docs", None),
        ("GET", "/openapi.json", None),
    ),
    (
        ("POST", "/mcp", _mcp("tools/call", name="count_memories", arguments=_SCOPE)),
        ("POST", "/mcp/", _mcp("tools/list")),
    ),
)
PATHS = frozenset(path for calls in _CALLS for _, path, _ in calls)


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer; a status of 0 is a connection that was refused or closed."""

    at_s: float
    path: str
    status: int
    text: str = ""
    is_expected: bool = True


class Watch:
    """What the clients have seen. `at_s` is on the clock of time.monotonic.

    Unless `is_limited`, they also make calls that are rate-limited.
    """

    def __init__(self, url: str, is_limited: bool = False) -> None:
        self.seen: list[Seen] = []
        self.paths = PATHS - (_WRITES_AND_SEARCHES if is_limited else set())
        self._url = url
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator["Watch"]:
        threads = [threading.Thread(target=self._call, args=(calls,)) for calls in _CALLS]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def statuses(self, since_s: float = 0.0) -> dict[str, set[int]]:
        """By path."""
        found: dict[str, set[int]] = {path: set() for path in self.paths}
        for seen in list(self.seen):
            if seen.at_s >= since_s:
                found[seen.path].add(seen.status)
        return found

    def unexpected(self) -> list[Seen]:
        return [seen for seen in self.seen if not seen.is_expected]

    def _call(self, calls: tuple[tuple[str, str, Any], ...]) -> None:
        with httpx2.Client(base_url=self._url, timeout=_TIMEOUT_S, headers=_HEADERS) as client:
            while not self._is_over.is_set():
                for method, path, body in calls:
                    if path not in self.paths:
                        continue
                    self.seen.append(_see(client, method, path, body))
                    time.sleep(_PAUSE_S)


def _see(client: httpx2.Client, method: str, path: str, body: Any) -> Seen:
    started_s = time.monotonic()
    try:
        answer = client.request(method, path, json=body)
    except httpx2.TimeoutException as error:
        return Seen(started_s, path, 0, type(error).__name__, is_expected=False)
    except httpx2.TransportError as error:
        return Seen(started_s, path, 0, str(error))
    is_expected = answer.is_success or _is_unavailable(path, answer)
    return Seen(started_s, path, answer.status_code, answer.text[:200], is_expected)


def _is_unavailable(path: str, answer: httpx2.Response) -> bool:
    """503 as a problem, or as a health check that says what is down."""
    media_types = {"application/problem+json"}
    if path in _HEALTH:
        media_types.add("application/json")
    return (
        answer.status_code == 503
        and answer.headers["content-type"] in media_types
        and int(answer.headers["retry-after"]) >= 1
        and len(answer.headers.get_list("x-request-id")) == 1
    )
