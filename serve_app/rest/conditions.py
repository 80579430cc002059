"""Conditional requests (RFC 9110, 13): ETag, If-None-Match and If-Match."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from deployments.domain.entity_tags import Precondition, entity_tag
from deployments.domain.memories import Memory
from serve_app.rest.operation import Reply
from serve_app.web.headers import entity_tags

IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"


def etag(memory: Memory) -> dict[str, str]:
    """The ETag header: a strong tag of the memory's state."""
    return {"ETag": f'"{entity_tag(memory)}"'}


def reply_unless_known(request: Request, memory: Memory) -> Reply[Memory] | Response:
    """The memory, or 304 if If-None-Match names its state. That header compares weakly. Raises
    InvalidInput."""
    headers = etag(memory)
    known = entity_tags(request.headers, IF_NONE_MATCH)
    if known is None:
        return Reply(memory, headers)
    if known.is_any or entity_tag(memory) in known.strong | known.weak:
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    return Reply(memory, headers)


def read_precondition(request: Request) -> Precondition | None:
    """The condition that If-Match sets. That header compares strongly: weak tags match nothing.
    None without it, and for `*`, which only a missing memory does not meet: that is a 404 anyway.
    Raises InvalidInput."""
    tags = entity_tags(request.headers, IF_MATCH)
    return None if tags is None or tags.is_any else Precondition(tags.strong)
