"""Request bodies."""

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from deployments.domain.memories import Expiry, MemoryPatch, MemoryType, NewMemory
from deployments.domain.ranking import Fusion, Ranking, SearchMode
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.domain.searching.pages import DEFAULT_DIVERSITY
from deployments.runtime.ids import uuid7
from serve_app.web.fields import (
    FILTER,
    Content,
    Id,
    Importance,
    LexicalWeight,
    Metadata,
    MetadataFilter,
    PastTime,
    Query,
    Score,
    Time,
    Ttl,
    Weight,
    WindowEnd,
    WindowStart,
    expires_at,
)
from serve_app.web.input_model import Input

MAX_BATCH = 256


class Body(Input):
    """A JSON object in a request."""


class MemoryIn(Body):
    """A memory to store."""

    agent_id: Id
    user_id: Id
    content: Content
    importance: Importance = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: Metadata = Field(default_factory=dict)
    created_at: PastTime | None = Field(
        None, description="When the memory was made; now if it is left out."
    )
    expires_at: Time | None = Field(None, description="When the memory expires; null: never.")
    ttl_seconds: Ttl | None = Field(
        None, description="Seconds from now until the memory expires, instead of expires_at."
    )

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        expires_at(self.expires_at, self.ttl_seconds)
        return self

    def to_domain(self) -> NewMemory:
        return NewMemory(
            id=uuid7(),
            agent_id=self.agent_id,
            user_id=self.user_id,
            content=self.content,
            importance=self.importance,
            memory_type=self.memory_type,
            metadata=self.metadata,
            created_at=self.created_at,
            expires_at=expires_at(self.expires_at, self.ttl_seconds),
        )


class BatchIn(Body):
    """Memories to store together, all or none."""

    memories: Annotated[list[MemoryIn], Field(min_length=1, max_length=MAX_BATCH)]


class PatchIn(Body):
    """The fields to change. New content is embedded again."""

    content: Content | None = None
    importance: Importance | None = None
    memory_type: MemoryType | None = None
    metadata: Metadata | None = Field(None, description="Replaces the whole metadata object.")
    expires_at: Time | None = Field(
        None, description="When the memory expires; null: never. Leave it out to change nothing."
    )
    ttl_seconds: Ttl | None = Field(
        None, description="Seconds from now until the memory expires, instead of expires_at."
    )

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        expires_at(self.expires_at, self.ttl_seconds)
        return self

    def to_domain(self) -> MemoryPatch:
        expiry = None
        if self.ttl_seconds is not None or "expires_at" in self.model_fields_set:
            expiry = Expiry(expires_at(self.expires_at, self.ttl_seconds))
        return MemoryPatch(self.content, self.importance, self.memory_type, self.metadata, expiry)


class SearchIn(Body):
    """A search of one user's memories."""

    agent_id: Id
    user_id: Id
    query: Query
    top_k: Annotated[int, Field(ge=1, le=50)] = 10
    alpha: Weight = Field(
        0.7, description="The weight of similarity; 1 - alpha is the weight of recency."
    )
    half_life_days: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 30.0
    importance_weight: Weight = 0.0
    mode: SearchMode = Field(
        "hybrid",
        description="What similarity compares: hybrid: meaning and words; semantic: only meaning; "
        "lexical: only words.",
    )
    fusion: Fusion = Field(
        "weighted",
        description="How hybrid mode combines the two: weighted: as a weighted sum; rrf: by "
        "reciprocal rank fusion. The other modes refuse rrf.",
    )
    lexical_weight: LexicalWeight | None = Field(
        None,
        description="In a weighted sum, the weight of words relative to a weight of 1 for meaning; "
        "null: the service's setting. Refused where there is no weighted sum.",
    )
    explain: bool = Field(False, description="Add the parts of its score to each result.")
    include_superseded: bool = Field(
        False, description="Also find memories that were condensed into a summary."
    )
    memory_type: MemoryType | None = None
    metadata: MetadataFilter | None = Field(None, description=FILTER)
    created_after: WindowStart = None
    created_before: WindowEnd = None
    min_score: Score | None = None
    min_similarity: Weight | None = Field(
        None,
        description="Only memories that are related to the query: their cosine, or their share of "
        "the query's words, weighted by how rare these are, is at least this; null: all.",
    )
    diversity: Weight = Field(
        DEFAULT_DIVERSITY,
        description="How far near-copies of other results move down: by about so much of a score "
        "for each of the results before that says the same; 0: not at all.",
    )
    as_of: Time | None = Field(
        None,
        description="Search what was known at this time: versions of that time, memories that "
        "were superseded or have expired since, none that was made or deleted since. Ages are "
        "counted to it. Null: now.",
    )

    @field_validator("fusion")
    @classmethod
    def _of_both(cls, fusion: Fusion, info: ValidationInfo) -> Fusion:
        # An invalid mode is not in `data` and has an error of its own.
        if fusion == "rrf" and info.data.get("mode", "hybrid") != "hybrid":
            raise ValueError("rrf fuses meaning and words: it needs mode hybrid")
        return fusion

    @field_validator("lexical_weight")
    @classmethod
    def _of_a_weighted_sum(cls, weight: float | None, info: ValidationInfo) -> float | None:
        mode, fusion = info.data.get("mode", "hybrid"), info.data.get("fusion", "weighted")
        if weight is not None and (mode, fusion) != ("hybrid", "weighted"):
            raise ValueError("is used only in mode hybrid with fusion weighted: leave it out")
        return weight

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
                self.min_similarity or None,
            ),
            as_of=self.as_of,
            explain=self.explain,
            include_superseded=self.include_superseded,
            diversity=self.diversity,
        )
