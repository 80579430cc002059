"""Which Host and Origin headers name this service.

A web page can make its visitor's browser call a loopback service: the page's own host name resolves
to 127.0.0.1. Such a call has that name in its Host header, so only known hosts are served.
"""

import functools
import ipaddress
import re
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.web.problem import problem

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/]+))(?::\d{1,5})?", re.ASCII)


def host_name(host: str) -> str:
    """A Host header's name in lower case, without port, IPv6 brackets or final dot; empty if the
    header is malformed."""
    match = _HOST.fullmatch(host.strip().lower())
    return "" if match is None else (match[1] or match[2]).rstrip(".")


@functools.lru_cache(maxsize=64)  # clients send few different names
def is_loopback(name: str) -> bool:
    """`localhost`, 127.0.0.0/8 or ::1."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_served(hosts: list[str], allowed: Collection[str]) -> bool:
    """Whether a request with these Host headers is for this service: it has exactly one, which
    names loopback or a host in `allowed`. `*` in `allowed` stands for any host."""
    if len(hosts) != 1:
        return False
    name = host_name(hosts[0])
    return "*" in allowed or name in allowed or is_loopback(name)


class TrustedHost:
    """ASGI middleware: answers 421 if Host is neither loopback nor in `allowed`, unless the path is
    one of `open_paths`."""

    def __init__(
        self, app: ASGIApp, allowed: Collection[str], open_paths: Collection[str] = ()
    ) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and not is_served(Headers(scope=scope).getlist("host"), self._allowed)
            and scope["path"].removeprefix(scope.get("root_path", "")) not in self._open_paths
        ):
            answer = problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this host name is not served here; an operator can add it to MEMEX_ALLOWED_HOSTS",
            )
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)
