"""The tools' arguments and results. The schemas that clients see are generated from these."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from deployments.domain.memories import MemoryPatch, MemoryType, NewMemory
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from serve_app.web.fields import (
    FILTER,
    Content,
    Id,
    Importance,
    Metadata,
    MetadataFilter,
    Query,
    Weight,
    WindowEnd,
    WindowStart,
)
from serve_app.web.input_model import Input

DEFAULT_MAX_TOKENS = 2_000
MIN_SIMILARITY = 0.22
"""Loses none of the evidence in development data, and empties most searches for something else
(docs/how-to/evaluation.md)."""

AgentId = Annotated[Id, Field(description="The name of the agent that owns the memories.")]
UserId = Annotated[Id, Field(description="The user that the memories are about.")]
AnyUserId = Annotated[
    Id | None, Field(description="Only memories about this user; leave it out for all users.")
]
MemoryId = Annotated[UUID, Field(description="The memory's id, as returned by another tool.")]
TypeArgument = Annotated[
    MemoryType,
    Field(
        description="episodic: something that happened; semantic: a fact or preference; "
        "procedural: how something is done."
    ),
]
MaxTokens = Annotated[
    int,
    Field(
        ge=50,
        le=100_000,
        description="How many tokens the returned memories may take, approximately. Memories that "
        "do not fit are left out whole and counted in left_out.",
    ),
]


class Arguments(Input):
    """A tool's arguments."""


class StoreMemory(Arguments):
    agent_id: AgentId
    user_id: UserId
    content: Annotated[
        Content, Field(description="One self-contained statement, with names instead of pronouns.")
    ]
    memory_type: TypeArgument = MemoryType.EPISODIC
    importance: Annotated[
        Importance, Field(description="From 0 (trivial) to 2 (crucial); usually 1.")
    ] = 1.0
    metadata: Metadata = Field(default_factory=dict)

    def to_domain(self) -> NewMemory:
        return NewMemory(
            id=uuid7(),
            agent_id=self.agent_id,
            user_id=self.user_id,
            content=self.content,
            importance=self.importance,
            memory_type=self.memory_type,
            metadata=self.metadata,
        )


class SearchMemories(Arguments):
    agent_id: AgentId
    user_id: UserId
    query: Annotated[
        Query, Field(description="What to look for, in plain words or as exact names and codes.")
    ]
    top_k: Annotated[
        int, Field(ge=1, le=50, description="How many memories to return at most.")
    ] = 10
    memory_type: TypeArgument | None = None
    metadata: Annotated[MetadataFilter | None, Field(description=FILTER)] = None
    created_after: WindowStart = None
    created_before: WindowEnd = None
    min_similarity: Annotated[
        Weight,
        Field(
            description="How related a memory must be, from 0 (not at all: returns the nearest, "
            "whatever they say) to 1."
        ),
    ] = MIN_SIMILARITY
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS

    def to_domain(self) -> SearchQuery:
        return SearchQuery(
            agent_id=self.agent_id,
            user_id=self.user_id,
            text=self.query,
            top_k=self.top_k,
            filters=SearchFilters(
                self.memory_type,
                self.metadata,
                self.created_after,
                self.created_before,
                min_similarity=self.min_similarity or None,
            ),
        )


class GetMemory(Arguments):
    agent_id: AgentId
    id: MemoryId


class ListMemories(Arguments):
    agent_id: AgentId
    user_id: AnyUserId = None
    memory_type: TypeArgument | None = None
    limit: Annotated[
        int, Field(ge=1, le=200, description="How many memories to return at most.")
    ] = 20
    cursor: Annotated[
        Annotated[str, Field(max_length=128)] | None,
        Field(description="next_cursor of the previous call, to get the next page."),
    ] = None
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS


class UpdateMemory(Arguments):
    agent_id: AgentId
    id: MemoryId
    content: Annotated[Content | None, Field(description="Replaces the whole text.")] = None
    memory_type: TypeArgument | None = None
    importance: Importance | None = None
    metadata: Annotated[
        Metadata | None, Field(description="Replaces the whole metadata object.")
    ] = None

    def to_domain(self) -> MemoryPatch:
        return MemoryPatch(self.content, self.importance, self.memory_type, self.metadata)


class DeleteMemory(Arguments):
    agent_id: AgentId
    id: MemoryId


class CountMemories(Arguments):
    agent_id: AgentId
    user_id: AnyUserId = None


class MemoryOut(TypedDict):
    """The fields of a memory that a model needs, without an importance of 1 and empty metadata."""

    id: str
    content: str
    memory_type: str
    created_at: str
    importance: NotRequired[float]
    metadata: NotRequired[dict[str, Any]]
    expires_at: NotRequired[str]
    user_id: NotRequired[
        Annotated[str, Field(description="Left out if the call or the connection names the user.")]
    ]
    score: NotRequired[Annotated[float, Field(description="Higher is better.")]]


class StoredOut(TypedDict):
    id: str
    created_at: str


class MemoriesOut(TypedDict):
    memories: Annotated[list[MemoryOut], Field(description="Best first.")]
    left_out: Annotated[
        int, Field(description="How many of the memories found did not fit into max_tokens.")
    ]
    note: NotRequired[str]


class PageOut(TypedDict):
    memories: Annotated[list[MemoryOut], Field(description="Newest first.")]
    next_cursor: NotRequired[Annotated[str, Field(description="Left out on the last page.")]]
    left_out: Annotated[
        int, Field(description="How many memories of this page did not fit into max_tokens.")
    ]
    note: NotRequired[str]


class DeletedOut(TypedDict):
    deleted: str


class CountOut(TypedDict):
    count: int
