import pickle
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
import pytest

from deployments.domain.memories import InsertCall, Memory, MemoryType, NewMemory
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.pickling import pickle_by_fields
from deployments.domain.ranking import Explanation, Ranking, ScoreWeights
from deployments.domain.rate_limits import RateLimit
from deployments.domain.search import SearchCall, SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
WEIGHTS = ScoreWeights(0.7, 0.3, 0.1, None, 0.5)
EXPLANATION = Explanation(0.1, 0.2, 0.3, 0.4, 0.5, 6.0, WEIGHTS, ["term"], 1, None)
MEMORY = Memory(
    uuid7(), "agent", "user", "text", 2.0, MemoryType.SEMANTIC, {"n": 10**30}, NOW, NOW, None,
    uuid7(), 0.5, EXPLANATION,
)  # fmt: skip
QUERY = SearchQuery(
    "agent", "user", "text", 3, Ranking(0.1, fusion="rrf"),
    SearchFilters(MemoryType.EPISODIC, parse_filter({"a": [1]}), NOW), NOW, True, True,
)  # fmt: skip
NEW = NewMemory(uuid7(), "agent", "user", "text", 1.5, MemoryType.PROCEDURAL, {"b": None}, NOW)


@pytest.mark.parametrize("value", [MEMORY, QUERY, NEW, RateLimit("write", 60)])
def test_values_are_equal_after_pickling(value: object) -> None:
    copy = pickle.loads(pickle.dumps(value))
    assert copy == value
    assert type(copy) is type(value)


@pytest.mark.parametrize(
    "call",
    [
        SearchCall(QUERY, np.ones(4, np.float32), 7, RateLimit("search", 1)),
        InsertCall([NEW], np.ones((1, 4), np.float32), 7, None),
    ],
)
def test_calls_and_their_embeddings_are_equal_after_pickling(
    call: SearchCall | InsertCall,
) -> None:
    copy = pickle.loads(pickle.dumps(call))
    for field in fields(call):
        value, expected = getattr(copy, field.name), getattr(call, field.name)
        if field.name.startswith("embedding"):
            assert np.array_equal(value, expected)
        else:
            assert value == expected


def test_pickles_do_not_depend_on_how_dataclasses_store_their_fields() -> None:
    assert b"_dataclass_setstate" not in pickle.dumps(MEMORY)
    assert MEMORY.__reduce__()[0] is Memory


def test_dataclass_with_a_single_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Alone"):

        @pickle_by_fields
        @dataclass(frozen=True, slots=True)
        class Alone:
            field: int
