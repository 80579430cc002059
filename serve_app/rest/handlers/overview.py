"""Handlers for overviews: agents, an agent's users, and the number of memories per day."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import Field
from starlette.requests import Request

from deployments.domain.overview import CountBounds, DayCounts
from serve_app.rest.input import read_query
from serve_app.rest.schemas.queries import AgentQuery, QueryString
from serve_app.services.memories import MemoryService
from serve_app.web.fields import Id, StoredId

_BOUNDS = CountBounds()
_Memories = Annotated[int, Field(description=f"Counted up to {_BOUNDS.per_tally:,}.")]
_IsExact = Annotated[bool, Field(description="False if there are more memories than were counted.")]
_NextAfter = Annotated[
    str | None, Field(description="The after of the next page; null on the last page.")
]


class TallyQuery(QueryString):
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: StoredId | None = Field(None, description="next_after of the previous page.")


class TimelineQuery(AgentQuery):
    user_id: Id | None = Field(None, description="Leave it out to count memories about all users.")
    days: Annotated[int, Field(ge=1, le=366)] = Field(
        30, description="How many days (UTC) to count; the last one is today."
    )


@dataclass(frozen=True, slots=True)
class AgentOut:
    agent_id: str
    memories: _Memories
    is_exact: _IsExact


@dataclass(frozen=True, slots=True)
class AgentsOut:
    agents: list[AgentOut]
    next_after: _NextAfter


@dataclass(frozen=True, slots=True)
class UserOut:
    user_id: str
    memories: _Memories
    is_exact: _IsExact


@dataclass(frozen=True, slots=True)
class UsersOut:
    agent_id: str
    users: list[UserOut]
    next_after: _NextAfter


@dataclass(frozen=True, slots=True)
class TimelineOut:
    agent_id: str
    user_id: str | None
    since: Annotated[
        date,
        Field(
            description="The first day that was counted: the requested one, or a later one, "
            f"because only the newest {_BOUNDS.per_timeline:,} memories are counted."
        ),
    ]
    days: Annotated[
        list[DayCounts], Field(description="Only days that have memories, oldest first.")
    ]


async def list_agents(service: MemoryService, request: Request) -> AgentsOut:
    query = read_query(request, TallyQuery)
    page = await service.list_agents(query.limit, query.after)
    agents = [AgentOut(tally.id, tally.memories, tally.is_exact) for tally in page.tallies]
    return AgentsOut(agents, page.next_after)


async def list_users(service: MemoryService, request: Request) -> UsersOut:
    agent_id = AgentQuery(agent_id=request.path_params["agent_id"]).agent_id
    query = read_query(request, TallyQuery)
    page = await service.list_users(agent_id, query.limit, query.after)
    users = [UserOut(tally.id, tally.memories, tally.is_exact) for tally in page.tallies]
    return UsersOut(agent_id, users, page.next_after)


async def timeline(service: MemoryService, request: Request) -> TimelineOut:
    query = read_query(request, TimelineQuery)
    since = datetime.now(UTC).date() - timedelta(days=query.days - 1)
    counts = await service.timeline(query.agent_id, query.user_id, since)
    return TimelineOut(query.agent_id, query.user_id, counts.since, counts.days)
