"""Reads requests into their schemas; a request that cannot be read gets a 4xx with the reason."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http import HTTPMethod, HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import pydantic_core
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from deployments.domain.errors import InvalidInput
from deployments.domain.memories import WriteKey
from serve_app.rest.conditions import IF_MATCH, IF_NONE_MATCH
from serve_app.rest.operation import Operation
from serve_app.web.fields import MAX_BODY_BYTES
from serve_app.web.headers import media_type

KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[ -~]{1,255}")
_EMPTY_BODIES = (b"", b"{}", b"null")  # some clients send one with every request
_MAX_EMPTY_BYTES = 16
_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes"

Body = TypeVar("Body", bound=BaseModel)
Query = TypeVar("Query", bound=BaseModel)


async def read_body(request: Request, schema: type[Body]) -> Body:
    """The JSON body. Raises HTTPException (400, 413, 415) or ValidationError."""
    if media_type(request.headers) != "application/json":
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as Content-Type: application/json"
        )
    raw = await _read_bounded(request)
    try:
        # The schema parses the body again; this pass refuses what JSON does not have, such as NaN.
        pydantic_core.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    return schema.model_validate_json(raw)


def read_query(request: Request, schema: type[Query]) -> Query:
    """The parameters of the query string. Raises InvalidInput or ValidationError."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict"
        )
    except UnicodeDecodeError:
        raise InvalidInput("query string", "is not percent-encoded UTF-8") from None
    except ValueError as error:
        raise InvalidInput("query string", str(error)) from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidInput(name, "is given more than once")
        values[name] = value
    return schema.model_validate(values)


async def refuse_unread(request: Request, *, has_query: bool, has_body: bool) -> None:
    """Refuse parameters or a body if the operation does not read them: a caller who sends them
    expects an effect. Raises InvalidInput."""
    if not has_query and request.scope["query_string"]:
        raise InvalidInput("query string", "this route takes no parameters in its address")
    headers = request.headers
    if has_body or ("content-length" not in headers and "transfer-encoding" not in headers):
        return
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_EMPTY_BYTES:
            break
    if body.strip() not in _EMPTY_BODIES:
        raise InvalidInput("body", "this route takes no body")


def read_memory_id(request: Request) -> UUID:
    """The id in the path. Raises InvalidInput."""
    text = request.path_params["memory_id"]
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput("id", "is not a UUID") from None


def read_write_key(request: Request, write: Callable[[], object]) -> WriteKey | None:
    """The write key of the Idempotency-Key header, with a fingerprint of the path and of what
    `write` returns, which tells this write from others and can be represented in JSON. None without
    that header. Raises InvalidInput."""
    keys = request.headers.getlist(KEY_HEADER)
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidInput(KEY_HEADER, "is given more than once")
    if not _KEY.fullmatch(keys[0]):
        raise InvalidInput(KEY_HEADER, "must be 1 to 255 printable ASCII characters")
    text = json.dumps([request.url.path, write()], sort_keys=True)
    return WriteKey(keys[0], hashlib.sha256(text.encode()).digest())


def check_expiries(times: Iterable[tuple[tuple[str | int, ...], datetime | None]]) -> None:
    """Check the times of new `expires_at`, each with the place of its object in the body. The
    schemas leave this out, because a write that is repeated under its key may come later than its
    expiry. Raises ValidationError if any is in the past."""
    now = datetime.now(UTC)
    in_the_past = PydanticCustomError("past", "is in the past")
    errors = [
        InitErrorDetails(type=in_the_past, loc=(*place, "expires_at"), input=None)
        for place, time in times
        if time is not None and time <= now
    ]
    if errors:
        raise ValidationError.from_exception_data("body", errors)


def refuse_headers(request: Request, operation: Operation) -> None:
    """Refuse headers that would change what the operation does, but that it does not evaluate.
    Raises InvalidInput."""
    is_safe = operation.method == HTTPMethod.GET
    for name, is_read, instead in (
        (KEY_HEADER, operation.is_keyed, "works where memories are stored, changed or deleted"),
        (IF_MATCH, operation.is_conditional, "works where one memory is changed or deleted"),
        (IF_NONE_MATCH, is_safe, "works where one memory is read"),
    ):
        if not is_read and name in request.headers:
            raise InvalidInput(name, f"is not accepted here: it {instead}")


async def _read_bounded(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
    return bytes(body)
