"""How many memories a search of a large scope has before it."""

import json
from dataclasses import replace
from typing import Any

from deployments.domain.types import SearchFilters, SearchQuery
from deployments.store.candidates import Population, late_after
from deployments.store.pool import Connection
from deployments.store.queries import sql


async def population_of(
    connection: Connection, query: SearchQuery, scope_rows: int, indexed: int
) -> Population:
    """Of a scope with `scope_rows` memories whose words are known, in an index that has `indexed`.
    In a transaction whose statements are planned with their values."""
    filters = query.filters
    has_times = filters.created_after is not None or filters.created_before is not None
    has_others = filters.metadata is not None or filters.memory_type is not None
    in_time = scope_rows
    if has_times or not in_time:
        times = SearchFilters(
            created_after=filters.created_after, created_before=filters.created_before
        )
        in_time = await _expected_rows(connection, query, times)
    matching = in_time
    if has_others:
        matching = await _expected_rows(connection, query, filters)
    return Population(indexed, in_time, matching)


async def with_late(
    connection: Connection, query: SearchQuery, population: Population
) -> Population:
    """The same with how many are of late. In such a transaction, too."""
    after, filters = late_after(query), query.filters
    if after is None:
        return population
    if filters.created_after is not None and filters.created_after >= after:
        return replace(population, of_late=population.in_time)
    ends = [time for time in (filters.created_before, query.as_of) if time is not None]
    since = SearchFilters(created_after=after, created_before=min(ends, default=None))
    return replace(population, of_late=await _expected_rows(connection, query, since))


async def _expected_rows(connection: Connection, query: SearchQuery, filters: SearchFilters) -> int:
    """How many the planner thinks they leave."""
    plan = await connection.fetchval(sql("expected_rows"), *_values(query, filters))
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"])


def _values(query: SearchQuery, filters: SearchFilters) -> tuple[Any, ...]:
    return (
        query.agent_id,
        query.user_id,
        filters.memory_type,
        filters.metadata,
        filters.created_after,
        filters.created_before,
    )
