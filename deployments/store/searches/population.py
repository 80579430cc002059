"""How many memories a search of a large scope could find, as the planner estimates."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

from deployments.domain.search import SearchFilters, SearchQuery
from deployments.store.postgres.jsonpath import to_jsonpath
from deployments.store.postgres.pool import Connection
from deployments.store.searches.candidates import Population, recent_since
from deployments.store.searches.tuning import SearchTuning
from deployments.store.sql import sql

ExpectedRows = Callable[[Connection, SearchQuery, SearchFilters], Awaitable[int]]
"""How many memories of the query's scope the planner expects to pass the filters. Needs a
transaction whose statements are planned for their values (`plan_for_values`)."""


async def expected_rows(connection: Connection, query: SearchQuery, filters: SearchFilters) -> int:
    plan = await connection.fetchval(
        *sql.expected_rows(
            agent_id=query.agent_id,
            user_id=query.user_id,
            memory_type=filters.memory_type,
            metadata=to_jsonpath(filters.metadata),
            created_after=filters.created_after,
            created_before=filters.created_before,
        )
    )
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"])


class Populations:
    """Estimates populations, for the filters of a query."""

    def __init__(self, tuning: SearchTuning, expected_rows: ExpectedRows = expected_rows) -> None:
        self._tuning = tuning
        self._expected_rows = expected_rows

    async def population(
        self, connection: Connection, query: SearchQuery, *, scope_rows: int, indexed: int
    ) -> Population:
        """The population without `recent`. `scope_rows` is the number of the scope's memories whose
        terms are indexed; `indexed` is the number of vector index entries."""
        filters = query.filters
        has_span = filters.created_after is not None or filters.created_before is not None
        has_other_filters = filters.metadata is not None or filters.memory_type is not None
        in_time = scope_rows
        if has_span or not in_time:
            span = SearchFilters(
                created_after=filters.created_after, created_before=filters.created_before
            )
            in_time = await self._expected_rows(connection, query, span)
        matching = in_time
        if has_other_filters:
            matching = await self._expected_rows(connection, query, filters)
        return Population(indexed=indexed, in_time=in_time, matching=matching)

    async def with_recent(
        self, connection: Connection, query: SearchQuery, population: Population
    ) -> Population:
        """The same population with `recent`."""
        since, filters = recent_since(query, self._tuning), query.filters
        if since is None:
            return population
        if filters.created_after is not None and filters.created_after >= since:
            return replace(population, recent=population.in_time)
        ends = [time for time in (filters.created_before, query.as_of) if time is not None]
        recent = SearchFilters(created_after=since, created_before=min(ends, default=None))
        return replace(population, recent=await self._expected_rows(connection, query, recent))
