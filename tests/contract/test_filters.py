"""Metadata filters in the lists and searches of every store."""

from typing import Any

import pytest

from deployments.domain.memories import ListFilters
from deployments.domain.metadata_filters import parse_filter
from deployments.domain.ranking import Ranking
from deployments.domain.search import SearchFilters
from tests.support.contract import Scope

MEMORIES: dict[str, dict[str, Any]] = {
    "none": {},
    "seven": {"priority": 7, "project": "x", "tags": ["red", "blue"]},
    "two": {"priority": 2.0, "project": ["x", "y"], "tags": "red"},
    "word": {"priority": "7", "project": None, "due": "2026-03-01T00:00:00Z"},
    "list": {"priority": [1, 9], "tags": [], "due": "2026-02-28T23:59:59Z"},
    "yes": {"priority": True, "author": {"name": "Ana", "age": 17}},
    "deep": {"author": [{"name": "Ben", "age": 70}, {"name": "Ana", "age": 30}], "tags": [["red"]]},
}


@pytest.fixture
async def filled(scope: Scope) -> Scope:
    for name, metadata in MEMORIES.items():
        await scope.add(name, metadata=metadata)
    return scope


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Values
        ({}, set(MEMORIES)),
        ({"priority": 7}, {"seven"}),
        ({"priority": 2}, {"two"}),
        ({"priority": 9}, {"list"}),
        ({"priority": True}, {"yes"}),
        ({"project": "x"}, {"seven", "two"}),
        ({"project": None}, {"word"}),
        ({"tags": "red"}, {"seven", "two"}),
        ({"tags": ["red"]}, {"seven"}),
        ({"tags": ["blue", "red"]}, {"seven"}),
        ({"tags": ["red", "green"]}, set()),
        ({"tags": []}, {"seven", "list", "deep"}),
        ({"tags": [["red"]]}, {"deep"}),
        ({"project": "x", "priority": 7}, {"seven"}),
        ({"author": {"name": "Ana"}}, {"yes", "deep"}),
        ({"author": {"name": "Ana", "age": 70}}, set()),
        ({"author": [{"name": "Ana"}]}, {"deep"}),
        ({"author": {}}, {"yes", "deep"}),
        # Operators
        ({"project": {"$eq": "x"}}, {"seven", "two"}),
        ({"project": {"$ne": "x"}}, {"none", "word", "list", "yes", "deep"}),
        ({"project": {"$ne": None}}, set(MEMORIES) - {"word"}),
        ({"project": {"$in": ["y", None]}}, {"two", "word"}),
        ({"tags": {"$in": ["red"]}}, {"seven", "two"}),
        ({"project": {"$nin": ["y", None]}}, set(MEMORIES) - {"two", "word"}),
        ({"priority": {"$gte": 7}}, {"seven", "list"}),
        ({"priority": {"$gt": 7}}, {"list"}),
        ({"priority": {"$lte": 2}}, {"two", "list"}),
        ({"priority": {"$lt": 2}}, {"list"}),
        ({"priority": {"$gt": 1, "$lt": 9}}, {"seven", "two"}),
        ({"priority": {"$gte": "5"}}, {"word"}),
        ({"due": {"$lt": "2026-03-01"}}, {"list"}),
        ({"due": {"$exists": True}}, {"word", "list"}),
        ({"project": {"$exists": False}}, {"none", "list", "yes", "deep"}),
        ({"priority": {"$not": {"$gte": 7}}}, {"none", "two", "word", "yes", "deep"}),
        ({"priority": {"$gte": 1, "$ne": 7}}, {"two", "list"}),
        ({"author": {"age": {"$gte": 18}}}, {"deep"}),
        ({"author": {"name": "Ben", "age": {"$lt": 60}}}, set()),
        ({"author": {"name": {"$ne": "Ana"}}}, {"deep"}),
        ({"$or": [{"project": "x"}, {"priority": {"$gt": 8}}]}, {"seven", "two", "list"}),
        ({"$and": [{"tags": "red"}, {"tags": "blue"}]}, {"seven"}),
        ({"$not": {"project": "x"}}, {"none", "word", "list", "yes", "deep"}),
        ({"$not": {"project": "x", "tags": "blue"}}, set(MEMORIES) - {"seven"}),
        ({"$not": {"$not": {"project": "x"}}}, {"seven", "two"}),
        ({"project": "x", "$or": [{"priority": 2}, {"priority": 3}]}, {"two"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
async def test_filters_select_memories(
    filled: Scope, value: dict[str, Any], expected: set[str]
) -> None:
    metadata = parse_filter(value)
    for include_superseded in (False, True):
        page = await filled.store.memories.list_page(
            filled.agent,
            filled.user,
            page_size=50,
            filters=ListFilters(metadata=metadata, include_superseded=include_superseded),
        )
        assert {memory.content for memory in page.memories} == expected
        for ranking in (Ranking(), Ranking(fusion="rrf")):
            hits = await filled.search(
                "seven",
                ranking=ranking,
                filters=SearchFilters(metadata=metadata),
                include_superseded=include_superseded,
            )
            assert {hit.content for hit in hits} == expected
