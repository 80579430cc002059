"""Reads request headers."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from deployments.domain.errors import InvalidInput

# RFC 9110, 8.8.3. A list may have empty elements (5.6.1).
_ENTITY_TAG = r'(?:W/)?"[!\x23-\x7e\x80-\xff]*"'
_ENTITY_TAGS = re.compile(rf"[ \t]*(?:{_ENTITY_TAG}[ \t]*)?(?:,[ \t]*(?:{_ENTITY_TAG}[ \t]*)?)*")


@dataclass(frozen=True, slots=True)
class EntityTags:
    """The entity tags of If-Match or If-None-Match, without quotes. `*` stands for any."""

    strong: frozenset[str]
    weak: frozenset[str]
    is_any: bool = False


def entity_tags(headers: Headers, name: str) -> EntityTags | None:
    """The header's entity tags; None without that header. Raises InvalidInput."""
    values = headers.getlist(name)
    if not values:
        return None
    value = ",".join(values)
    if value.strip(" \t") == "*":
        return EntityTags(frozenset(), frozenset(), is_any=True)
    tags = re.findall(_ENTITY_TAG, value)
    if not tags or not _ENTITY_TAGS.fullmatch(value):
        raise InvalidInput(name, 'must be * or entity tags in quotes, such as "abc", "def"')
    return EntityTags(
        frozenset(tag[1:-1] for tag in tags if tag[0] == '"'),
        frozenset(tag[3:-1] for tag in tags if tag[0] == "W"),
    )


def media_type(headers: Headers) -> str:
    """The Content-Type in lower case, without its parameters; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def accepts_gzip(headers: Headers) -> bool:
    """Whether Accept-Encoding allows gzip; a weight of 0 forbids it (RFC 9110, 12.5.3)."""
    for entry in headers.get("accept-encoding", "").lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        if coding == "gzip":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
