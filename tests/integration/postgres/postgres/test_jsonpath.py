"""Metadata filters in Postgres and in the in-memory store, on random metadata."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from deployments.domain.memories import ListFilters, NewMemory
from deployments.domain.metadata_filters import MetadataTest, parse_filter
from deployments.domain.search import SearchFilters, SearchQuery
from deployments.runtime.ids import uuid7
from deployments.store.postgres.jsonpath import to_jsonpath
from deployments.store.postgres.pool import Pool
from deployments.store.store import PostgresStore
from tests.support.fakes.embedder import IDENTITY, embed_words
from tests.support.fakes.filters import matches

# Few of each, so that filters and metadata often meet.
KEYS = st.sampled_from(["a", "b", 'q"\\\n', "é 🙂", ""])
NUMBERS = st.sampled_from([0, -0.0, 1, 1.0, -1, 0.1, 2.5, 1e300, 1e23, 10**23, 10**40, 1e-7])
STRINGS = st.sampled_from(["", "x", "y", "X", "10", "9", "é", "🙂", "\ufffd", '"', "\\", "\t\x7f"])
SCALARS = NUMBERS | STRINGS | st.sampled_from([None, True, False])
VALUES = st.deferred(lambda: st.recursive(SCALARS, _containers, max_leaves=6))
METADATA = st.dictionaries(KEYS | st.just("$eq"), VALUES, max_size=4)

_BOUNDS = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
_LISTS = st.lists(SCALARS, min_size=1, max_size=3)
_OPERANDS = {
    "$eq": SCALARS, "$ne": SCALARS, "$in": _LISTS, "$nin": _LISTS, "$exists": st.booleans(),
}  # fmt: skip
TESTS: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        st.dictionaries(_BOUNDS, NUMBERS, min_size=1, max_size=2),
        st.dictionaries(_BOUNDS, STRINGS, min_size=1, max_size=2),
        st.sampled_from(sorted(_OPERANDS)).flatmap(
            lambda name: st.fixed_dictionaries({name: _OPERANDS[name]})
        ),
        st.fixed_dictionaries({"$not": TESTS}),
        st.dictionaries(KEYS, TESTS, min_size=1, max_size=2),
        VALUES,
    )
)
FILTERS: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        st.dictionaries(KEYS, TESTS, min_size=1, max_size=2),
        st.fixed_dictionaries({"$and": st.lists(FILTERS, min_size=1, max_size=3), "a": TESTS}),
        st.fixed_dictionaries({"$or": st.lists(FILTERS, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": FILTERS}),
    )
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)


@st.composite
def parsed_filters(draw: st.DrawFn) -> MetadataTest:
    try:
        return parse_filter(draw(FILTERS))
    except ValueError as error:  # an inverted range, or $not of a value
        assume("wrong way round" not in str(error) and "$not takes" not in str(error))
        raise


@settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(test=parsed_filters(), metadata=st.lists(METADATA, min_size=6, max_size=6))
async def test_postgres_and_the_in_memory_store_agree(
    pool: Pool, test: MetadataTest, metadata: list[dict[str, Any]]
) -> None:
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select coalesce(m @@ $2::jsonpath, false) as passes "
            "from unnest($1::jsonb[]) with ordinality as t (m, n) order by n",
            metadata,
            to_jsonpath(test),
        )
    assert [row["passes"] for row in rows] == [matches(one, test) for one in metadata]


def nested(key: str, levels: int, inner: dict[str, Any]) -> dict[str, Any]:
    for _ in range(levels):
        inner = {key: inner}
    return inner


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (nested("a", 62, {"b": 1}), True),
        (nested("$not", 62, {"b": 1}), False),
        ({"k" * 15_000: {"$in": list(range(250))}}, True),
        ({"k" * 15_000: {"$nin": list(range(250))}}, False),
        ({"$or": [{str(n): 10**4_000} for n in range(3)] + [{"n": 10**4_000}]}, True),
        ({"n": {"$gt": 1.7e308}}, True),
        ({"$and": [{"$or": [{"b": n}, {"n": {"$exists": True}}]} for n in range(120)]}, True),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_largest_filters_are_evaluated(
    postgres_store: PostgresStore, value: dict[str, Any], found: bool
) -> None:
    generation = await postgres_store.generations.adopt_generation(IDENTITY)
    metadata = {**nested("a", 62, {"b": 1}), "k" * 15_000: [0, 249], "n": 10**4_000}
    memory = NewMemory(uuid7(), "agent", "user", "large", metadata=metadata)
    await postgres_store.inserts.insert([memory], embed_words("large")[None], generation, None)
    filters = ListFilters(metadata=parse_filter(value))
    page = await postgres_store.memories.list_page("agent", "user", page_size=5, filters=filters)
    assert len(page.memories) == found
    query = SearchQuery(
        "agent", "user", "large", filters=SearchFilters(metadata=parse_filter(value))
    )
    vector = embed_words("large")
    hits = await postgres_store.searches.search(query, vector, generation, None)
    assert len(hits) == found
