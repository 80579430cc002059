"""Which states of a memory have the same entity tag."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.domain.entity_tags import Precondition, entity_tag
from deployments.domain.errors import PreconditionFailed
from deployments.domain.memories import Memory, MemoryType
from deployments.domain.ranking import Explanation, ScoreWeights
from deployments.runtime.ids import uuid7

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEMORY = Memory(
    uuid7(), "agent", "user", "text", 1.0, MemoryType.EPISODIC, {"a": 1, "b": 2}, NOW, NOW
)
OTHER: dict[str, Any] = {
    "id": uuid7(),
    "agent_id": "another",
    "user_id": "another",
    "content": "texts",
    "importance": 0.5,
    "memory_type": MemoryType.SEMANTIC,
    "metadata": {"a": 1, "b": "2"},
    "created_at": NOW + timedelta(microseconds=1),
    "updated_at": NOW + timedelta(microseconds=1),
    "expires_at": NOW,
    "superseded_by": uuid7(),
}
OF_SEARCHES: dict[str, Any] = {
    "score": 0.5,
    "explanation": Explanation(0, 0, 0, 0, 0, 0, ScoreWeights(1, 0, 0, 1, 0), []),
}


def test_every_field_changes_the_tag_except_those_of_a_search() -> None:
    assert {field.name for field in fields(Memory)} == {*OTHER, *OF_SEARCHES}
    others = {entity_tag(replace(MEMORY, **{name: value})) for name, value in OTHER.items()}
    assert len(others | {entity_tag(MEMORY)}) == len(OTHER) + 1
    for name, value in OF_SEARCHES.items():
        assert entity_tag(replace(MEMORY, **{name: value})) == entity_tag(MEMORY)


def test_tag_is_short_and_does_not_depend_on_the_order_of_metadata() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", entity_tag(MEMORY))
    assert entity_tag(replace(MEMORY, metadata={"b": 2, "a": 1})) == entity_tag(MEMORY)


def test_precondition_is_met_by_any_of_its_tags() -> None:
    Precondition(frozenset({"other", entity_tag(MEMORY)})).check(MEMORY)
    for tags in (frozenset({"other"}), frozenset[str]()):
        with pytest.raises(PreconditionFailed, match=str(MEMORY.id)):
            Precondition(tags).check(MEMORY)
