"""The filters of lists and searches, applied to one memory."""

import operator
from decimal import Decimal
from typing import Any

from deployments.domain.memories import ListFilters, Memory
from deployments.domain.metadata_filters import (
    All,
    AnyOf,
    Entries,
    Equals,
    Exists,
    Key,
    Keys,
    MetadataTest,
    Not,
    OneOf,
    Within,
)
from deployments.domain.search import SearchQuery


def passes(memory: Memory, filters: ListFilters) -> bool:
    """Whether a list with these filters has the memory."""
    return (
        filters.memory_type in (None, memory.memory_type)
        and (filters.include_superseded or memory.superseded_by is None)
        and (filters.metadata is None or matches(memory.metadata, filters.metadata))
        and (filters.created_after is None or memory.created_at >= filters.created_after)
        and (filters.created_before is None or memory.created_at < filters.created_before)
    )


def is_candidate(memory: Memory, query: SearchQuery) -> bool:
    """Whether the search scores the memory."""
    filters = query.filters
    return (
        (memory.agent_id, memory.user_id) == (query.agent_id, query.user_id)
        and filters.memory_type in (None, memory.memory_type)
        and (filters.metadata is None or matches(memory.metadata, filters.metadata))
        and (filters.created_after is None or memory.created_at >= filters.created_after)
        and (filters.created_before is None or memory.created_at < filters.created_before)
        and (query.include_superseded or memory.superseded_by is None)
    )


def matches(value: Any, test: MetadataTest) -> bool:
    """Whether the value passes the test."""
    match test:
        case Equals(expected):
            return any(_are_equal(entry, expected) for entry in _entries(value))
        case OneOf(values):
            return any(matches(value, Equals(expected)) for expected in values)
        case Within(bounds):
            return any(_is_within(entry, bounds) for entry in _entries(value))
        case Exists():
            return value is not MISSING
        case Key(name, inner):
            return matches(value.get(name, MISSING), inner)
        case Keys(tests):
            return any(
                isinstance(entry, dict) and all(matches(entry, inner) for inner in tests)
                for entry in _entries(value)
            )
        case Entries(tests):
            return isinstance(value, list) and all(
                any(_is_entry(entry, inner) for entry in value) for inner in tests
            )
        case All(tests):
            return all(matches(value, inner) for inner in tests)
        case AnyOf(tests):
            return any(matches(value, inner) for inner in tests)
        case Not(inner):
            return not matches(value, inner)


MISSING = object()
"""Instead of the value of a key that an object does not have."""

_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_entry(entry: Any, test: MetadataTest) -> bool:
    return isinstance(entry, list) == isinstance(test, Entries) and matches(entry, test)


def _are_equal(value: Any, expected: Any) -> bool:
    return _type_of(value) == _type_of(expected) and _comparable(value) == _comparable(expected)


def _is_within(value: Any, bounds: tuple[tuple[str, Any], ...]) -> bool:
    return all(
        _type_of(value) == _type_of(limit)
        and _COMPARE[name](_comparable(value), _comparable(limit))
        for name, limit in bounds
    )


def _type_of(value: Any) -> type:
    return float if type(value) is int else type(value)


def _comparable(value: Any) -> Any:
    """JSON's numbers are decimal: 1e23 is larger than the float that stands for it."""
    return Decimal(repr(value)) if _type_of(value) is float else value
