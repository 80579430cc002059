"""Errors as `application/problem+json` (RFC 9457)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import TypeAdapter
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldError:
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


_PROBLEM = TypeAdapter(Problem)


def problem(
    status: HTTPStatus,
    detail: str,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error answer."""
    body = Problem("about:blank", status.phrase, int(status), detail, errors)
    return Response(
        _PROBLEM.dump_json(body, exclude_none=True), status, headers, media_type=MEDIA_TYPE
    )


def retry_after(seconds: float) -> dict[str, str]:
    """The Retry-After header, in whole seconds as HTTP requires, at least 1."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
