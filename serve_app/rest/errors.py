"""Error responses: one table from error class to status, and one format (RFC 9457)."""

from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.domain.errors import (
    AgentsNotListed,
    InvalidInput,
    KeyInUse,
    KeyReused,
    MemexError,
    MemoryNotFound,
    NotASummary,
    PreconditionFailed,
    RateLimited,
    StartupError,
    Superseded,
    TooManyExports,
    Unavailable,
)
from deployments.domain.rate_limits import WINDOW_S, Quota, RateLimit
from serve_app.rest.rate_limits import rate_limit_headers
from serve_app.web.input_model import reason
from serve_app.web.problem import (
    FieldError,
    ReachedLimit,
    problem,
    retry_after,
    too_many_requests,
)
from serve_app.web.request_telemetry import has_answered, record_failure

_STATUS: dict[type[MemexError], HTTPStatus] = {
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    MemoryNotFound: HTTPStatus.NOT_FOUND,
    Superseded: HTTPStatus.CONFLICT,
    NotASummary: HTTPStatus.CONFLICT,
    AgentsNotListed: HTTPStatus.FORBIDDEN,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    KeyInUse: HTTPStatus.CONFLICT,
    KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyExports: HTTPStatus.SERVICE_UNAVAILABLE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StartupError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_MAX_LISTED_ERRORS = 100  # `detail` counts those that are not listed


async def on_memex_error(request: Request, error: Exception) -> Response:
    """Answer an error of the service's own; its message is written for the caller."""
    assert isinstance(error, MemexError)
    status = next(s for cls, s in _STATUS.items() if isinstance(error, cls))
    record_failure(request.scope, error)
    if isinstance(error, InvalidInput):
        return problem(status, str(error), [FieldError(error.field, error.reason)])
    if isinstance(error, RateLimited):
        return _on_rate_limit(error)
    if isinstance(error, Unavailable | TooManyExports | KeyInUse):
        return problem(status, str(error), headers=retry_after(error.retry_after_s))
    if isinstance(error, StartupError):  # only the operator can fix it
        detail = "the service is not configured correctly; its log says what to change"
        return problem(status, detail, headers=retry_after(60))
    return problem(status, str(error))


def _on_rate_limit(error: RateLimited) -> Response:
    limit = RateLimit(error.operation, error.per_minute)
    quota = Quota(error.agent_id, limit, 0, error.retry_after_s)
    reached = ReachedLimit(
        error.operation, error.agent_id, error.per_minute, WINDOW_S, error.retry_after_s
    )
    return too_many_requests(error.for_caller, reached, rate_limit_headers(quota))


async def on_validation_error(_request: Request, error: Exception) -> Response:
    """Answer input that breaks rules of its schema: each broken rule, with its field."""
    assert isinstance(error, ValidationError)
    errors = _field_errors(error, _MAX_LISTED_ERRORS)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, describe(error), errors)


def describe(error: ValidationError) -> str:
    """The first three broken rules, and how many more there are."""
    detail = "; ".join(f"{entry.field}: {entry.message}" for entry in _field_errors(error, 3))
    unlisted = error.error_count() - 3
    return detail + (f"; and {unlisted} more" if unlisted > 0 else "")


def _field_errors(error: ValidationError, limit: int) -> list[FieldError]:
    """The first `limit` broken rules."""
    errors = error.errors(include_url=False, include_input=False)
    return [FieldError(_path(entry["loc"]), reason(entry)) for entry in errors[:limit]]


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer an HTTPException: Starlette's (unknown route, wrong method) or a route's own."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return problem(status, error.detail, headers=error.headers)


class FaultBarrier:
    """ASGI middleware inside RequestTelemetry: answer an unexpected error without its traceback,
    which goes to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            # Nobody reads this answer; without it the disconnect would be counted as a 500.
            await problem(HTTPStatus.BAD_REQUEST, "the body was cut off")(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http" or has_answered(scope):
                raise
            record_failure(scope, error)
            answer = problem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "an internal error; it has been logged"
            )
            await answer(scope, receive, send)


def _path(loc: tuple[int | str, ...]) -> str:
    """`('memories', 3, 'content')` as `memories[3].content`."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "body"
