"""Parameters of query strings."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from deployments.domain.memories import ListFilters, MemoryType
from serve_app.web.fields import Id, MetadataText, Time


class QueryString(BaseModel):
    """Parameters of a query string, where everything is text and so numbers are read from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OwnerQuery(QueryString):
    agent_id: Id


class ScopeQuery(QueryString):
    agent_id: Id
    user_id: Id


class CountQuery(QueryString):
    agent_id: Id
    user_id: Id | None = Field(None, description="All users of the agent where it is left out.")
    include_superseded: bool = Field(False, description="Count what was condensed, too.")


class ExportQuery(CountQuery):
    pass


class ListQuery(QueryString):
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
        None, description="next_before of the page before."
    )


class SummariesQuery(QueryString):
    agent_id: Id | None = Field(None, description="All agents where it is left out.")
    user_id: Id | None = Field(None, description="All users where it is left out.")

    @field_validator("user_id")
    @classmethod
    def _of_an_agent(cls, user_id: str | None, info: ValidationInfo) -> str | None:
        # An agent_id that is not valid is not in `data`, and has an error of its own.
        if user_id is not None and info.data.get("agent_id", "") is None:
            raise ValueError("needs agent_id")
        return user_id
