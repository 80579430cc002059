"""What the tools take and give, as models of arguments and of results."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

from deployments.domain.memories import MemoryPatch, MemoryType, NewMemory
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from serve_app.web.fields import Content, Id, Importance, Metadata, Query, Time

DEFAULT_MAX_TOKENS = 2_000

AgentId = Annotated[Id, Field(description="Whose memory it is: the name of the agent.")]
UserId = Annotated[Id, Field(description="Whom the memories are about or for.")]
AnyUserId = Annotated[Id | None, Field(description="One user's alone; left out: all users'.")]
MemoryId = Annotated[UUID, Field(description="The memory's id, as another tool returned it.")]
Kind = Annotated[
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
        description="About how many tokens the memories may take. Those that do not fit are left "
        "out whole, and counted in left_out.",
    ),
]


class Arguments(BaseModel):
    """Strict: a number in quotes is not a number, and an unknown argument is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StoreMemory(Arguments):
    agent_id: AgentId
    user_id: UserId
    content: Annotated[
        Content, Field(description="One self-contained statement, with names instead of pronouns.")
    ]
    memory_type: Kind = MemoryType.EPISODIC
    importance: Annotated[
        Importance, Field(description="From 0 (trivial) to 2 (crucial); 1 is usual.")
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
        Query, Field(description="What to recall, in plain words or as exact names and codes.")
    ]
    top_k: Annotated[int, Field(ge=1, le=50, description="At most so many memories.")] = 10
    memory_type: Kind | None = None
    metadata: Annotated[
        Metadata | None,
        Field(description="Only memories whose metadata contain all of this."),
    ] = None
    created_after: Time | None = None
    created_before: Time | None = None
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS

    def to_domain(self) -> SearchQuery:
        return SearchQuery(
            agent_id=self.agent_id,
            user_id=self.user_id,
            text=self.query,
            top_k=self.top_k,
            filters=SearchFilters(
                self.memory_type, self.metadata, self.created_after, self.created_before
            ),
        )


class GetMemory(Arguments):
    agent_id: AgentId
    id: MemoryId


class ListMemories(Arguments):
    agent_id: AgentId
    user_id: AnyUserId = None
    memory_type: Kind | None = None
    limit: Annotated[int, Field(ge=1, le=200, description="At most so many memories.")] = 20
    cursor: Annotated[
        Annotated[str, Field(max_length=128)] | None,
        Field(description="next_cursor of the call before, to go on from there."),
    ] = None
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS


class UpdateMemory(Arguments):
    agent_id: AgentId
    id: MemoryId
    content: Annotated[Content | None, Field(description="Replaces the text as a whole.")] = None
    memory_type: Kind | None = None
    importance: Importance | None = None
    metadata: Annotated[Metadata | None, Field(description="Replaces the metadata as a whole.")] = (
        None
    )

    def to_domain(self) -> MemoryPatch:
        return MemoryPatch(self.content, self.importance, self.memory_type, self.metadata)


class DeleteMemory(Arguments):
    agent_id: AgentId
    id: MemoryId


class CountMemories(Arguments):
    agent_id: AgentId
    user_id: AnyUserId = None


class MemoryOut(TypedDict):
    """What a model needs of a memory; an importance of 1 and empty metadata are left out."""

    id: str
    content: str
    memory_type: str
    created_at: str
    importance: NotRequired[float]
    metadata: NotRequired[dict[str, Any]]
    expires_at: NotRequired[str]
    user_id: NotRequired[Annotated[str, Field(description="Where several users' are listed.")]]
    score: NotRequired[Annotated[float, Field(description="Higher is better.")]]


class StoredOut(TypedDict):
    id: str
    created_at: str


class FoundOut(TypedDict):
    memories: Annotated[list[MemoryOut], Field(description="Best first.")]
    left_out: Annotated[int, Field(description="Found, but beyond max_tokens.")]
    note: NotRequired[str]


class ListedOut(TypedDict):
    memories: Annotated[list[MemoryOut], Field(description="Newest first.")]
    next_cursor: NotRequired[Annotated[str, Field(description="Missing where there are no more.")]]
    left_out: Annotated[int, Field(description="Of this page, for want of room.")]
    note: NotRequired[str]


class DeletedOut(TypedDict):
    deleted: str


class CountedOut(TypedDict):
    count: int


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Without references, generated titles, and nulls: what may be null may be left out, which is
    all that a model has to know."""
    definitions = schema.get("$defs", {})
    plain = _plain(schema, definitions)
    assert isinstance(plain, dict)
    return plain


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        own = {key: value for key, value in node.items() if key != "$ref"}
        return _plain({**target, **own}, definitions)
    if "anyOf" in node:
        (choice,) = [entry for entry in node["anyOf"] if entry != {"type": "null"}]
        own = {key: value for key, value in node.items() if key != "anyOf"}
        return _plain({**choice, **own}, definitions)
    return {
        key: _properties(value, definitions) if key == "properties" else _plain(value, definitions)
        for key, value in node.items()
        if key not in ("$defs", "title") and not (key == "default" and value is None)
    }


def _properties(properties: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Their names are the caller's: one may be called `title`."""
    return {name: _plain(value, definitions) for name, value in properties.items()}
