"""What there is: agents, an agent's users, the memories of each day."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import Field
from starlette.requests import Request

from deployments.domain.overview import CountBounds, DayCounts
from serve_app.rest.input import read_query
from serve_app.rest.schemas.queries import OwnerQuery, QueryString
from serve_app.services.memories import MemoryService
from serve_app.web.fields import Id

_BOUNDS = CountBounds()
_Memories = Annotated[int, Field(description=f"Counted up to {_BOUNDS.of_one:,}.")]
_IsExact = Annotated[bool, Field(description="False where there are more than were counted.")]
_NextAfter = Annotated[str | None, Field(description="For the next page; null at the end.")]


class TallyQuery(QueryString):
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Id | None = Field(None, description="next_after of the page before.")


class TimelineQuery(OwnerQuery):
    user_id: Id | None = Field(None, description="All users of the agent where it is left out.")
    days: Annotated[int, Field(ge=1, le=366)] = Field(
        30, description="So many days (UTC), of which today is the last."
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
            description="The first day that was counted: the one that was asked for, or a later "
            f"one where there are more than {_BOUNDS.of_timeline:,} memories, of which the newest "
            "are counted."
        ),
    ]
    days: Annotated[list[DayCounts], Field(description="Those that have memories, oldest first.")]


async def list_agents(service: MemoryService, request: Request) -> AgentsOut:
    query = read_query(request, TallyQuery)
    page = await service.list_agents(query.limit, query.after)
    agents = [AgentOut(tally.id, tally.memories, tally.is_exact) for tally in page.tallies]
    return AgentsOut(agents, page.next_after)


async def list_users(service: MemoryService, request: Request) -> UsersOut:
    agent_id = OwnerQuery(agent_id=request.path_params["agent_id"]).agent_id
    query = read_query(request, TallyQuery)
    page = await service.list_users(agent_id, query.limit, query.after)
    users = [UserOut(tally.id, tally.memories, tally.is_exact) for tally in page.tallies]
    return UsersOut(agent_id, users, page.next_after)


async def timeline(service: MemoryService, request: Request) -> TimelineOut:
    query = read_query(request, TimelineQuery)
    since = datetime.now(UTC).date() - timedelta(days=query.days - 1)
    found = await service.timeline(query.agent_id, query.user_id, since)
    return TimelineOut(query.agent_id, query.user_id, found.since, found.days)
