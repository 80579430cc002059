"""Query parameters."""

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from deployments.domain.memories import ListFilters, MemoryType
from serve_app.web.fields import FILTER, Id, MetadataFilterText, WindowEnd, WindowStart
from serve_app.web.input_model import Input


class QueryString(Input):
    """Query parameters. Not strict like `Body`, because numbers and booleans arrive as text."""

    model_config = ConfigDict(strict=False)


class AgentQuery(QueryString):
    agent_id: Id


class ScopeQuery(QueryString):
    agent_id: Id
    user_id: Id


class CountQuery(QueryString):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent if it is left out.")
    include_superseded: bool = Field(
        False, description="Include memories that were condensed into a summary."
    )


class ExportQuery(QueryString):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent if it is left out.")


class ListQuery(QueryString):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent if it is left out.")
    memory_type: MemoryType | None = None
    metadata: MetadataFilterText | None = Field(None, description=f"A JSON object. {FILTER}")
    created_after: WindowStart = None
    created_before: WindowEnd = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=128)] | None = Field(
        None, description="next_cursor of the previous page."
    )
    include_superseded: bool = Field(
        False, description="Include memories that were condensed into a summary."
    )

    def filters(self) -> ListFilters:
        return ListFilters(
            memory_type=self.memory_type,
            metadata=self.metadata,
            created_after=self.created_after,
            created_before=self.created_before,
            include_superseded=self.include_superseded,
        )


class HistoryQuery(QueryString):
    agent_id: Id
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = Field(
        None, description="next_before of the previous page."
    )


class SummariesQuery(QueryString):
    agent_id: Id | None = Field(None, description="All agents if it is left out.")
    user_id: Id | None = Field(None, description="All users if it is left out; needs agent_id.")

    @field_validator("user_id")
    @classmethod
    def _of_an_agent(cls, user_id: str | None, info: ValidationInfo) -> str | None:
        # An invalid agent_id is not in `data` and has an error of its own.
        if user_id is not None and info.data.get("agent_id", "") is None:
            raise ValueError("needs agent_id")
        return user_id
