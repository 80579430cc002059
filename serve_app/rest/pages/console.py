"""/console: the browser console, from the files of serve_app/console. It uses only the public
API."""

import hashlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

_FOLDER = Path(__file__).resolve().parents[2] / "console"
_PAGE = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Memories may contain markup. Even if some became part of the page, it could not load, run or send
# anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # browsers keep the file and revalidate it each time
}

Answer = Callable[[Request], Awaitable[Response]]


def console_routes() -> list[BaseRoute]:
    """Routes for the page and its files. Addresses are relative, so that any path prefix works."""
    files = {path.name: _file(path) for path in sorted(_FOLDER.iterdir())}

    async def page(request: Request) -> Response:
        return await files[_PAGE](request)

    async def slash(_request: Request) -> Response:
        return RedirectResponse("../console", HTTPStatus.TEMPORARY_REDIRECT)

    async def file(request: Request) -> Response:
        answer = files.get(request.path_params["name"])
        if answer is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return await answer(request)

    return [
        Route("/console", page),
        Route("/console/", slash),
        Route("/console/{name}", file),
    ]


def _file(path: Path) -> Answer:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": etag}

    async def answer(request: Request) -> Response:
        known_etags = request.headers.get("if-none-match", "").split(",")
        if etag in (known.strip().removeprefix("W/") for known in known_etags):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers, media_type=_MEDIA_TYPES[path.suffix])

    return answer
