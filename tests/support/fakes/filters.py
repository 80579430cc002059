"""The filters of lists and searches, applied to one memory."""

from typing import Any

from deployments.domain.memories import ListFilters, Memory
from deployments.domain.search import SearchQuery


def passes(memory: Memory, filters: ListFilters) -> bool:
    """Whether a list with these filters has the memory."""
    return (
        filters.memory_type in (None, memory.memory_type)
        and (filters.include_superseded or memory.superseded_by is None)
        and (filters.metadata is None or contains(memory.metadata, filters.metadata))
        and (filters.created_after is None or memory.created_at > filters.created_after)
        and (filters.created_before is None or memory.created_at < filters.created_before)
    )


def is_candidate(memory: Memory, query: SearchQuery) -> bool:
    """Whether the search scores the memory."""
    filters = query.filters
    return (
        (memory.agent_id, memory.user_id) == (query.agent_id, query.user_id)
        and filters.memory_type in (None, memory.memory_type)
        and (filters.metadata is None or contains(memory.metadata, filters.metadata))
        and (filters.created_after is None or memory.created_at > filters.created_after)
        and (filters.created_before is None or memory.created_at < filters.created_before)
        and (query.as_of is None or memory.created_at <= query.as_of)
        and (query.include_superseded or memory.superseded_by is None)
    )


def contains(value: Any, part: Any) -> bool:
    """JSON containment of objects, arrays and scalars, as Postgres's `@>` defines it."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            key in value and contains(value[key], item) for key, item in part.items()
        )
    if isinstance(part, list):
        return isinstance(value, list) and all(
            any(contains(entry, item) for entry in value) for item in part
        )
    return bool(value == part and isinstance(value, bool) == isinstance(part, bool))
