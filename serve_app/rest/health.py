"""The routes of health checks.

Probes call by address, so these routes answer any Host. A page that rebinds its name to this
service can read them, too: a Host that is not served gets the status alone.
"""

from collections.abc import Collection
from http import HTTPStatus

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from deployments.domain.errors import Unavailable
from serve_app.rest.schemas.answers import HealthOut, StatusOut
from serve_app.services.memories import MemoryService
from serve_app.web.problem import retry_after
from serve_app.web.request_telemetry import record_failure
from serve_app.web.trusted_host import is_served

HEALTH = "/health"
LIVE = "/health/live"
READY = "/health/ready"
PATHS = frozenset({HEALTH, LIVE, READY})

_ANSWERS: TypeAdapter[HealthOut | StatusOut] = TypeAdapter(HealthOut | StatusOut)


def health_routes(
    service: MemoryService, allowed_hosts: Collection[str], version: str
) -> list[BaseRoute]:
    """`allowed_hosts` are those, besides loopback, that may read more than the status."""
    known_hosts = frozenset(allowed_hosts)

    async def health(request: Request) -> Response:
        found = await service.health()
        is_healthy = found.db and found.embedder
        if not is_healthy:
            record_failure(request.scope, Unavailable("embedder" if found.db else "database"))
        details = HealthOut(
            status="ok" if is_healthy else "degraded",
            db="ok" if found.db else "down",
            embedder="ok" if found.embedder else "down",
            version=version,
        )
        is_known = is_served(request.headers.getlist("host"), known_hosts)
        return _answer(details if is_known else StatusOut(details.status))

    async def live(_request: Request) -> Response:
        return _answer(StatusOut("ok"))

    return [Route(HEALTH, health), Route(READY, health), Route(LIVE, live)]


def _answer(body: HealthOut | StatusOut) -> Response:
    headers = {"Cache-Control": "no-store"}
    status = HTTPStatus.OK
    if body.status != "ok":
        status = HTTPStatus.SERVICE_UNAVAILABLE
        headers |= retry_after(1)
    content = _ANSWERS.dump_json(body)
    return Response(content, status, headers, media_type="application/json")
