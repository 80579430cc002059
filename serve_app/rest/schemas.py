"""The API's request and response bodies. OpenAPI is generated from these and nothing else."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from deployments.domain.types import (
    Memory,
    MemoryPatch,
    MemoryType,
    NewMemory,
    Ranking,
    SearchFilters,
    SearchQuery,
)
from serve_app.service import new_id

MAX_CONTENT_CHARS = 8_000
MAX_METADATA_BYTES = 16 * 1024
MAX_BATCH = 256
_MAX_CLOCK_SKEW = timedelta(minutes=5)
_SMALLEST = 1e-9
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _clean(text: str) -> str:
    """Text that Postgres can hold and UTF-8 can write."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character (U+0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return text


def _clean_metadata(value: dict[str, Any]) -> dict[str, Any]:
    _check_values(value)
    size = len(json.dumps(_written_out(value), ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"is {size} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed")
    return value


def _check_values(value: Any) -> None:
    if isinstance(value, str):
        _clean(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not contain numbers that are not finite")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _clean(key)
            _check_values(item)
    elif isinstance(value, list):
        for item in value:
            _check_values(item)


def _written_out(value: Any) -> Any:
    """With floats as Postgres will give them back: 1e300 is an integer of 301 digits there, so a
    small body could otherwise become a very large answer."""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, dict):
        return {key: _written_out(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written_out(item) for item in value]
    return value


def _not_tiny(value: float) -> float:
    """Postgres raises an error where a product of such numbers becomes 0."""
    if 0 < value < _SMALLEST:
        raise ValueError(f"must be 0 or at least {_SMALLEST}")
    return value


def _rfc3339(value: Any) -> Any:
    """Kept to the microsecond. Pydantic takes more than the standard, Unix seconds among it."""
    if not isinstance(value, str):
        return value
    if not _RFC3339.fullmatch(value):
        raise ValueError("must be RFC 3339, such as 2026-01-31T12:00:00Z")
    return datetime.fromisoformat(value.upper())


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _not_in_future(value: datetime) -> datetime:
    if value > datetime.now(UTC) + _MAX_CLOCK_SKEW:
        raise ValueError("is more than 5 minutes in the future")
    return value


Id = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_clean)]
Content = Annotated[str, Field(min_length=1, max_length=MAX_CONTENT_CHARS), AfterValidator(_clean)]
Query = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_clean)]
Importance = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), AfterValidator(_not_tiny)]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), AfterValidator(_not_tiny)]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_clean_metadata),
    Field(description="Any JSON object of at most 16 KiB."),
]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class _Body(BaseModel):
    """Strict: a number in quotes is not a number, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MemoryIn(_Body):
    """A memory to store."""

    agent_id: Id
    user_id: Id
    content: Content
    importance: Importance = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: Metadata = Field(default_factory=dict)
    created_at: Annotated[Time, AfterValidator(_not_in_future)] | None = Field(
        None, description="For imports; now where it is left out."
    )

    def to_domain(self) -> NewMemory:
        return NewMemory(
            id=new_id(),
            agent_id=self.agent_id,
            user_id=self.user_id,
            content=self.content,
            importance=self.importance,
            memory_type=self.memory_type,
            metadata=self.metadata,
            created_at=self.created_at,
        )


class BatchIn(_Body):
    """Memories to store together: all of them or none."""

    memories: Annotated[list[MemoryIn], Field(min_length=1, max_length=MAX_BATCH)]


class PatchIn(_Body):
    """The fields to change. New content is embedded anew."""

    content: Content | None = None
    importance: Importance | None = None
    memory_type: MemoryType | None = None
    metadata: Metadata | None = Field(None, description="Replaces the metadata as a whole.")

    def to_domain(self) -> MemoryPatch:
        return MemoryPatch(self.content, self.importance, self.memory_type, self.metadata)


class SearchIn(_Body):
    """A search of one user's memories."""

    agent_id: Id
    user_id: Id
    query: Query
    top_k: Annotated[int, Field(ge=1, le=50)] = 10
    alpha: Weight = Field(0.7, description="1 ranks by similarity alone, 0 by newest first.")
    half_life_days: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 30.0
    importance_weight: Weight = 0.0
    memory_type: MemoryType | None = None
    metadata: Metadata | None = Field(None, description="Must be contained in a hit's metadata.")
    created_after: Time | None = None
    created_before: Time | None = None
    min_score: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def to_domain(self) -> SearchQuery:
        return SearchQuery(
            agent_id=self.agent_id,
            user_id=self.user_id,
            text=self.query,
            top_k=self.top_k,
            ranking=Ranking(self.alpha, self.half_life_days, self.importance_weight),
            filters=SearchFilters(
                self.memory_type,
                self.metadata,
                self.created_after,
                self.created_before,
                self.min_score,
            ),
        )


class _Query(BaseModel):
    """Parameters of a query string, where everything is text and so numbers are read from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OwnerQuery(_Query):
    agent_id: Id


class ScopeQuery(_Query):
    agent_id: Id
    user_id: Id


class CountQuery(_Query):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent where it is left out.")


class ListQuery(_Query):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent where it is left out.")
    memory_type: MemoryType | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=128)] | None = Field(
        None, description="next_cursor of the page before."
    )


@dataclass(frozen=True, slots=True)
class BatchOut:
    memories: list[Memory]


@dataclass(frozen=True, slots=True)
class SearchOut:
    results: list[Memory]
    query: str
    total: int


@dataclass(frozen=True, slots=True)
class PageOut:
    memories: list[Memory]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CountOut:
    agent_id: str
    user_id: str | None
    count: int


@dataclass(frozen=True, slots=True)
class DeletedOut:
    deleted: int


@dataclass(frozen=True, slots=True)
class HealthOut:
    status: Literal["ok", "degraded"]
    db: Literal["ok", "down"]
    embedder: Literal["ok", "down"]
    version: str


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
