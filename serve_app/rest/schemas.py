"""The API's request and response bodies. OpenAPI is generated from these and nothing else."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.domain.types import (
    Expiry,
    Fusion,
    ListFilters,
    Memory,
    MemoryPatch,
    MemoryType,
    MemoryVersion,
    NewMemory,
    Ranking,
    SearchFilters,
    SearchMode,
    SearchQuery,
)
from serve_app.fields import (
    Content,
    Id,
    Importance,
    LexicalWeight,
    Metadata,
    MetadataText,
    Query,
    Score,
    Time,
    TimePast,
    TimeToCome,
    Ttl,
    Weight,
    expires_at,
)
from serve_app.service import new_id

MAX_BATCH = 256


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
    created_at: TimePast | None = Field(None, description="For imports; now where it is left out.")
    expires_at: TimeToCome | None = Field(None, description="When it is forgotten; null: never.")
    ttl_seconds: Ttl | None = Field(None, description="The same, counted from now.")

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        expires_at(self.expires_at, self.ttl_seconds)
        return self

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
            expires_at=expires_at(self.expires_at, self.ttl_seconds),
        )


class BatchIn(_Body):
    """Memories to store together: all of them or none."""

    memories: Annotated[list[MemoryIn], Field(min_length=1, max_length=MAX_BATCH)]


class MemoryLine(_Body):
    """A line of an export or an import: a memory of the agent that the request names."""

    id: UUID
    user_id: Id
    content: Content
    importance: Importance = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: Metadata = Field(default_factory=dict)
    created_at: TimePast | None = Field(None, description="Now where it is left out.")
    updated_at: TimePast | None = Field(None, description="Now where it is left out.")
    expires_at: Time | None = Field(
        None, description="When it is forgotten; null: never. What is over is not stored."
    )
    superseded_by: UUID | None = Field(
        None, description="The summary that it was condensed into, which has to be there before."
    )

    def to_domain(self, agent_id: str) -> NewMemory:
        return NewMemory(
            id=self.id,
            agent_id=agent_id,
            user_id=self.user_id,
            content=self.content,
            importance=self.importance,
            memory_type=self.memory_type,
            metadata=self.metadata,
            created_at=self.created_at,
            expires_at=self.expires_at,
            updated_at=self.updated_at,
            superseded_by=self.superseded_by,
        )


class PatchIn(_Body):
    """The fields to change. New content is embedded anew."""

    content: Content | None = None
    importance: Importance | None = None
    memory_type: MemoryType | None = None
    metadata: Metadata | None = Field(None, description="Replaces the metadata as a whole.")
    expires_at: TimeToCome | None = Field(
        None, description="When it is forgotten. Null, where it is given: never."
    )
    ttl_seconds: Ttl | None = Field(None, description="The same, counted from now.")

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        expires_at(self.expires_at, self.ttl_seconds)
        return self

    def to_domain(self) -> MemoryPatch:
        expiry = None
        if self.ttl_seconds is not None or "expires_at" in self.model_fields_set:
            expiry = Expiry(expires_at(self.expires_at, self.ttl_seconds))
        return MemoryPatch(self.content, self.importance, self.memory_type, self.metadata, expiry)


class SearchIn(_Body):
    """A search of one user's memories."""

    agent_id: Id
    user_id: Id
    query: Query
    top_k: Annotated[int, Field(ge=1, le=50)] = 10
    alpha: Weight = Field(0.7, description="1 ranks by similarity alone, 0 by newest first.")
    half_life_days: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 30.0
    importance_weight: Weight = 0.0
    mode: SearchMode = Field(
        "hybrid", description="Similarity of meaning and words, of meaning alone, of words alone."
    )
    fusion: Fusion = Field(
        "weighted", description="How hybrid mode joins both: as a weighted sum, or by their ranks."
    )
    lexical_weight: LexicalWeight | None = Field(
        None, description="Of words against meaning in a weighted sum; null is the setting's."
    )
    explain: bool = Field(False, description="Give each result the parts of its score.")
    include_superseded: bool = Field(False, description="Find what was condensed, too.")
    memory_type: MemoryType | None = None
    metadata: Metadata | None = Field(None, description="Must be contained in a hit's metadata.")
    created_after: Time | None = None
    created_before: Time | None = None
    min_score: Score | None = None
    as_of: Time | None = Field(
        None, description="Ages are counted to this time and later memories are not seen."
    )

    def to_domain(self) -> SearchQuery:
        return SearchQuery(
            agent_id=self.agent_id,
            user_id=self.user_id,
            text=self.query,
            top_k=self.top_k,
            ranking=Ranking(
                self.alpha,
                self.half_life_days,
                self.importance_weight,
                self.mode,
                self.fusion,
                self.lexical_weight,
            ),
            filters=SearchFilters(
                self.memory_type,
                self.metadata,
                self.created_after,
                self.created_before,
                self.min_score,
            ),
            as_of=self.as_of,
            explain=self.explain,
            include_superseded=self.include_superseded,
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
    include_superseded: bool = Field(False, description="Count what was condensed, too.")


class ExportQuery(CountQuery):
    pass


class ListQuery(_Query):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent where it is left out.")
    memory_type: MemoryType | None = None
    metadata: MetadataText | None = Field(
        None, description="A JSON object that must be contained in a memory's metadata."
    )
    created_after: Time | None = None
    created_before: Time | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=128)] | None = Field(
        None, description="next_cursor of the page before."
    )
    include_superseded: bool = Field(False, description="List what was condensed, too.")

    def filters(self) -> ListFilters:
        return ListFilters(self.metadata, self.created_after, self.created_before)


class HistoryQuery(_Query):
    agent_id: Id
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = Field(
        None, description="next_before of the page before."
    )


class SummariesQuery(_Query):
    agent_id: Id | None = Field(None, description="All agents where it is left out.")
    user_id: Id | None = Field(None, description="All users where it is left out.")

    @model_validator(mode="after")
    def _user_of_an_agent(self) -> Self:
        if self.user_id is not None and self.agent_id is None:
            raise ValueError("user_id needs agent_id")
        return self


@dataclass(frozen=True, slots=True)
class MemoriesOut:
    memories: list[Memory]


@dataclass(frozen=True, slots=True)
class HistoryOut:
    versions: list[MemoryVersion]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class BatchOut:
    memories: list[Memory]


@dataclass(frozen=True, slots=True)
class SearchOut:
    results: list[Memory]
    query: str
    total: int
    reranked: Annotated[
        bool | None,
        Field(description="Null without a reranker; false where it was late or away and skipped."),
    ]


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
class EndLine:
    """The last line of an export; without it, something is missing."""

    end: Literal[True]
    memories: int


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of an import that was not stored. The first line is number 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedOut:
    """The last line of an import's answer: what became of the memories."""

    stored: int
    already_there: Annotated[int, Field(description="The agent's own ids: left as they are.")]
    expired: Annotated[int, Field(description="Over by now, and so not stored.")]
    refused: int
    whole: Annotated[bool, Field(description="Whether the body ended with an export's last line.")]


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
