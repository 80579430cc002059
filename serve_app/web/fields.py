"""The types of the fields that callers send, with their limits."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pydantic_core
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from deployments.domain.metadata_filters import MetadataTest, parse_filter
from deployments.domain.text import MAX_ID_CHARS, id_fault, is_blank

MAX_BODY_BYTES = 1024 * 1024
MAX_CONTENT_CHARS = 8_000
MAX_QUERY_CHARS = 8_000  # as long as a memory
MAX_METADATA_BYTES = 16 * 1024
MAX_TTL_S = 100 * 365 * 86_400
FILTER = (
    'Only memories whose metadata contains all of this, such as {"project": "x"}. A value may also '
    'be an object of operators, such as {"$gte": 5}: $eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, '
    "$exists, $not. Beside keys, $and and $or take lists of filters, and $not takes a filter."
)
_MAX_METADATA_DEPTH = 64  # JSON parsers limit nesting; answers nest metadata deeper than requests
_MAX_CLOCK_SKEW = timedelta(minutes=5)
_MIN_POSITIVE = 1e-9
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _check_text(text: str) -> str:
    """Postgres cannot store NUL, and UTF-8 cannot encode lone surrogates."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character (U+0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return text


def _check_id(text: str) -> str:
    fault = id_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


def _check_not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("must not be blank: it has only spaces and characters that cannot be seen")
    return text


def _check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    _check_values(value, 1)
    size = len(
        json.dumps(_write_out_floats(value), ensure_ascii=False, separators=(",", ":")).encode()
    )
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"is {size} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed")
    return value


def _parse_filter(value: Any) -> MetadataTest:
    if not isinstance(value, dict):
        raise ValueError("Input should be an object")
    return parse_filter(_check_metadata(value))


def _parse_json(value: Any) -> Any:
    """A query string's value, which is always text."""
    if not isinstance(value, str):
        return value
    try:
        return pydantic_core.from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"must be a JSON object: {error}") from None


def _check_values(value: Any, depth: int) -> None:
    if depth > _MAX_METADATA_DEPTH:
        raise ValueError(f"is nested more than {_MAX_METADATA_DEPTH} levels deep")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not contain numbers that are not finite")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(key)
            _check_values(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, depth + 1)


def _write_out_floats(value: Any) -> Any:
    """`value` with floats as Postgres writes them: 1e300 has 301 digits there, so a small body
    could become a very large answer."""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, dict):
        return {key: _write_out_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_write_out_floats(item) for item in value]
    return value


def _check_not_tiny(value: float) -> float:
    """Postgres raises an error if a product of tiny numbers underflows to 0."""
    if 0 < value < _MIN_POSITIVE:
        raise ValueError(f"must be 0 or at least {_MIN_POSITIVE}")
    return value


def _parse_rfc3339(value: Any) -> Any:
    """The time, cut to microseconds. Pydantic would accept other formats too, such as Unix
    seconds."""
    if not isinstance(value, str):
        return value
    if not _RFC3339.fullmatch(value):
        raise ValueError("must be RFC 3339, such as 2026-01-31T12:00:00Z")
    return datetime.fromisoformat(value.upper())


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _check_not_in_future(value: datetime) -> datetime:
    if value > datetime.now(UTC) + _MAX_CLOCK_SKEW:
        raise ValueError("is more than 5 minutes in the future")
    return value


def _check_window(end: datetime, info: ValidationInfo) -> datetime:
    """The start is not in `data` if it is invalid; it then has an error of its own."""
    start = info.data.get("created_after")
    if start is not None and end < start:
        raise ValueError("is before created_after")
    return end


def expires_at(time: datetime | None, ttl_s: int | None) -> datetime | None:
    """The expiry, from the argument that is set; None if neither is. Raises ValueError if both
    are."""
    if ttl_s is None:
        return time
    if time is not None:
        raise ValueError("give either expires_at or ttl_seconds")
    return datetime.now(UTC) + timedelta(seconds=ttl_s)


StoredId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS), AfterValidator(_check_text)]
"""An id as a page may name it: it may be older than the rules for ids."""
Id = Annotated[StoredId, AfterValidator(_check_id)]
Content = Annotated[
    str,
    Field(min_length=1, max_length=MAX_CONTENT_CHARS),
    AfterValidator(_check_text),
    AfterValidator(_check_not_blank),
]
Query = Annotated[
    str,
    Field(min_length=1, max_length=MAX_QUERY_CHARS),
    AfterValidator(_check_text),
    AfterValidator(_check_not_blank),
]
Importance = Annotated[
    float, Field(ge=0, le=2, allow_inf_nan=False), AfterValidator(_check_not_tiny)
]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), AfterValidator(_check_not_tiny)]
LexicalWeight = Annotated[
    float, Field(ge=0, le=10, allow_inf_nan=False), AfterValidator(_check_not_tiny)
]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_check_metadata),
    Field(description="Any JSON object of at most 16 KiB."),
]
MetadataFilter = Annotated[
    MetadataTest, PlainValidator(_parse_filter, json_schema_input_type=dict[str, Any])
]
MetadataFilterText = Annotated[
    MetadataFilter,
    BeforeValidator(_parse_json),
    WithJsonSchema(
        {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"type": "object"},
        }
    ),
]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_parse_rfc3339),
    AfterValidator(_to_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
WindowStart = Annotated[Time | None, Field(description="Only memories made at this time or later.")]
WindowEnd = Annotated[
    Annotated[Time, AfterValidator(_check_window)] | None,
    Field(description="Only memories made before this time; not earlier than created_after."),
]
"""A half-open window. The end's field comes after a field `created_after`."""

PastTime = Annotated[Time, AfterValidator(_check_not_in_future)]
Ttl = Annotated[int, Field(ge=1, le=MAX_TTL_S)]
Score = Annotated[float, Field(allow_inf_nan=False)]
