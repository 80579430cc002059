"""Lines of exports, of imports, and of their answers."""

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from deployments.domain.memories import MemoryType, NewMemory
from serve_app.rest.schemas.bodies import Body
from serve_app.web.fields import Content, Id, Importance, Metadata, Time, TimePast


class MemoryLine(Body):
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
