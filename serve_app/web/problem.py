"""Errors as `application/problem+json` (RFC 9457)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from pydantic import Field, TypeAdapter
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The type that draft-ietf-httpapi-ratelimit-headers defines, with its title."""


@dataclass(frozen=True, slots=True)
class FieldError:
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ReachedLimit:
    """A rate limit that an agent has reached."""

    policy: Annotated[str, Field(description="Its name in RateLimit-Policy: write or search.")]
    agent_id: str
    quota: Annotated[int, Field(description="How many calls it allows in a window.")]
    window_s: int
    retry_after_s: Annotated[float, Field(description="When the next call is possible.")]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    rate_limit: ReachedLimit | None = None
    violated_policies: Annotated[
        list[str] | None, Field(serialization_alias="violated-policies")
    ] = None


_PROBLEM = TypeAdapter(Problem)


def problem(
    status: HTTPStatus,
    detail: str,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error answer."""
    body = Problem("about:blank", status.phrase, int(status), detail, errors)
    return _response(body, headers)


def _response(body: Problem, headers: Mapping[str, str] | None) -> Response:
    content = _PROBLEM.dump_json(body, exclude_none=True, by_alias=True)
    return Response(content, body.status, headers, media_type=MEDIA_TYPE)


def too_many_requests(detail: str, limit: ReachedLimit, headers: Mapping[str, str]) -> Response:
    """The answer to a call that a rate limit refuses."""
    status = HTTPStatus.TOO_MANY_REQUESTS
    body = Problem(
        QUOTA_EXCEEDED,
        "Request cannot be satisfied as assigned quota has been exceeded",
        int(status),
        detail,
        rate_limit=limit,
        violated_policies=[limit.policy],
    )
    return _response(body, {**headers, **retry_after(limit.retry_after_s)})


def retry_after(seconds: float) -> dict[str, str]:
    """The Retry-After header, in whole seconds as HTTP requires, at least 1."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
