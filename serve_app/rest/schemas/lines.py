"""Lines of exports and imports, and of the answers to imports."""

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from deployments.domain.memories import MemoryType, NewMemory
from serve_app.rest.schemas.bodies import Body
from serve_app.web.fields import Content, Id, Importance, Metadata, PastTime, Time


class MemoryLine(Body):
    """A line of an export or an import: a memory of the agent that the request names."""

    id: UUID
    user_id: Id
    content: Content
    importance: Importance = 1.0
    memory_type: MemoryType = MemoryType.EPISODIC
    metadata: Metadata = Field(default_factory=dict)
    created_at: PastTime | None = Field(None, description="Now if it is left out.")
    updated_at: PastTime | None = Field(None, description="Now if it is left out.")
    expires_at: Time | None = Field(
        None,
        description="When the memory expires; null: never. Expired memories are not stored.",
    )
    superseded_by: UUID | None = Field(
        None,
        description="The summary that the memory was condensed into, which must be stored already "
        "or come first.",
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


@dataclass(frozen=True, slots=True)
class EndLine:
    """The last line of an export. Without it the export is incomplete."""

    end: Literal[True]
    memories: int


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of an import that was refused. The first line is number 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedOut:
    """The last line of the answer to an import: how many lines had which outcome."""

    stored: int
    already_there: Annotated[
        int, Field(description="The agent has memories with these ids; they are unchanged.")
    ]
    expired: Annotated[int, Field(description="Already expired, therefore not stored.")]
    refused: int
    whole: Annotated[
        bool, Field(description="Whether the body ended with the last line of an export.")
    ]
