"""Metadata filters: what they are parsed into, and what is refused."""

import contextlib
import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.domain.metadata_filters import (
    MAX_TESTS,
    OPERATORS,
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
    parse_filter,
)


@pytest.mark.parametrize(
    ("value", "test"),
    [
        ({}, All(())),
        ({"a": 1}, Key("a", Equals(1))),
        ({"a": None, "b": True}, All((Key("a", Equals(None)), Key("b", Equals(True))))),
        ({"a": {"b": "x"}}, Key("a", Keys((Key("b", Equals("x")),)))),
        ({"a": ["x", {"b": 1}]}, Key("a", Entries((Equals("x"), Keys((Key("b", Equals(1)),)))))),
        ({"a": {}, "b": []}, All((Key("a", Keys(())), Key("b", Entries(()))))),
        ({"a": {"$eq": 1}}, Key("a", Equals(1))),
        ({"a": {"$ne": 1}}, Key("a", Not(Equals(1)))),
        ({"a": {"$in": [1, "x"]}}, Key("a", OneOf((1, "x")))),
        ({"a": {"$nin": [1]}}, Key("a", Not(OneOf((1,))))),
        ({"a": {"$gte": 1, "$lt": 2.5}}, Key("a", Within(((">=", 1), ("<", 2.5))))),
        ({"a": {"$gt": "m", "$ne": "z"}}, Key("a", All((Not(Equals("z")), Within(((">", "m"),)))))),
        ({"a": {"$exists": True}}, Key("a", Exists())),
        ({"a": {"$exists": False}}, Key("a", Not(Exists()))),
        ({"a": {"$not": {"$lte": 1}}}, Key("a", Not(Within((("<=", 1),))))),
        ({"a": {"$not": {"b": 1}}}, Key("a", Not(Keys((Key("b", Equals(1)),))))),
        ({"a": {"b": {"$gt": 1}}}, Key("a", Keys((Key("b", Within(((">", 1),))),)))),
        ({"$and": [{"a": 1}, {"b": 2}]}, All((Key("a", Equals(1)), Key("b", Equals(2))))),
        ({"$or": [{"a": 1}, {"b": 2}]}, AnyOf((Key("a", Equals(1)), Key("b", Equals(2))))),
        ({"$not": {"a": 1}}, Not(Key("a", Equals(1)))),
        ({"a": 1, "$or": [{"b": 2}]}, All((Key("a", Equals(1)), Key("b", Equals(2))))),
        # Keys that could be taken for operators but are not.
        ({"in": "stock", "or": 1}, All((Key("in", Equals("stock")), Key("or", Equals(1))))),
        ({"a": {"gte": {"$eq": 5}}}, Key("a", Keys((Key("gte", Equals(5)),)))),
        ({"OR": {"$eq": 7}}, Key("OR", Equals(7))),
        ({"a.b": "$gte"}, Key("a.b", Equals("$gte"))),
    ],
    ids=str,
)
def test_filters_become_tests(value: dict[str, Any], test: MetadataTest) -> None:
    before = copy.deepcopy(value)
    assert parse_filter(value) == test
    assert value == before
    assert pickle.loads(pickle.dumps(test)) == test


@pytest.mark.parametrize(
    ("value", "place", "words"),
    [
        # Operators of other languages, without `$`.
        ({"priority": {"gte": 5}}, "priority.gte", '"$gte"'),
        ({"priority": {"GTE": 5}}, "priority.GTE", '"$gte"'),
        ({"priority": {">=": 5}}, "priority.>=", '"$gte"'),
        ({"priority": {"!=": 5}}, "priority.!=", '"$ne"'),
        ({"tags": {"in": ["red"]}}, "tags.in", '"$in"'),
        ({"tags": {"not_in": ["red"]}}, "tags.not_in", '"$nin"'),
        ({"tags": {"contains": "red"}}, "tags.contains", '"$eq"'),
        ({"tags": {"exists": True}}, "tags.exists", '"$exists"'),
        ({"a": {"b": {"lt": 5}}}, "a.b.lt", '"$lt"'),
        ({"a": [{"lt": 5}]}, "a[0].lt", '"$lt"'),
        ({"OR": [{"priority": 7}]}, "OR", '"$or"'),
        ({"and": [{"priority": 7}]}, "and", '"$and"'),
        ({"NOT": {"priority": 7}}, "NOT", '"$not"'),
        ({"must": [{"priority": 7}]}, "must", '"$and"'),
        ({"must_not": [{"priority": 7}]}, "must_not", '"$not"'),
        ({"gte": {"priority": 7}}, "gte", '"$gte"'),
        ({"$and": [{"a": 1}, {"b": {"eq": 1}}]}, "$and[1].b.eq", '"$eq"'),
        # The key of that name is meant: how to write it.
        ({"priority": {"gte": 5}}, "priority.gte", '{"gte": {"$eq": …}}'),
        # Operators that do not exist.
        ({"a": {"$regex": "x"}}, "a.$regex", ", ".join(OPERATORS)),
        ({"a": {"$foo": 1}}, "a.$foo", ", ".join(OPERATORS)),
        ({"$foo": 1}, "$foo", ", ".join(OPERATORS)),
        ({"$nor": [{"a": 1}]}, "$nor", '"$not"'),
        ({"a": {"$neq": 1}}, "a.$neq", '"$ne"'),
        ({"a": {"$exist": True}}, "a.$exist", '"$exists"'),
        ({"a": {"$GTE": 1}}, "a.$GTE", '"$gte"'),
        ({"a": {"$": 1}}, "a.$", ", ".join(OPERATORS)),
        # Operators in the wrong place.
        ({"$gte": 5}, "$gte", '{"key": {"$gte": …}}'),
        ({"a": {"$or": [{"$lt": 1}]}}, "a.$or", '{"$or": [{"key": …}]}'),
        ({"a": {"$gte": 5, "unit": "h"}}, "a.$gte", "$and"),
        ({"a": [{"$gt": 5}]}, "a[0].$gt", "list"),
        ({"a": [{"b": {"$gt": 5}}]}, "a[0].b.$gt", "list"),
        # Wrong operands.
        ({"a": {"$gt": None}}, "a.$gt", "number or a string"),
        ({"a": {"$gt": True}}, "a.$gt", "number or a string"),
        ({"a": {"$lte": [1]}}, "a.$lte", "number or a string"),
        ({"a": {"$gt": 1, "$lt": "x"}}, "a", "number and a string"),
        ({"a": {"$gt": 2, "$lt": 1}}, "a", "wrong way round"),
        ({"a": {"$gte": "b", "$lte": "a"}}, "a", "wrong way round"),
        ({"a": {"$in": 1}}, "a.$in", "list of at least one"),
        ({"a": {"$in": []}}, "a.$in", "list of at least one"),
        ({"a": {"$nin": []}}, "a.$nin", "list of at least one"),
        ({"a": {"$in": [1, [2]]}}, "a.$in[1]", "containment"),
        ({"a": {"$eq": {"b": 1}}}, "a.$eq", "containment"),
        ({"a": {"$ne": [1]}}, "a.$ne", "containment"),
        ({"a": {"$exists": 1}}, "a.$exists", "true or false"),
        ({"a": {"$not": 5}}, "a.$not", "$ne"),
        ({"a": {"$not": {}}}, "a.$not", "$ne"),
        ({"$and": []}, "$and", "list of at least one"),
        ({"$or": {"a": 1}}, "$or", "list of at least one"),
        ({"$or": [1]}, "$or[0]", "at least one key"),
        ({"$or": [{"a": 1}, {}]}, "$or[1]", "at least one key"),
        ({"$not": []}, "$not", "at least one key"),
        ({"$not": {}}, "$not", "at least one key"),
    ],
    ids=str,
)
def test_refusals_name_the_place_and_what_to_write(
    value: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_filter(value)
    message = str(refusal.value)
    assert message.startswith(f"{place}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_without_its_sign_is_refused_by_name(operator: str) -> None:
    with pytest.raises(ValueError, match=rf'the nearest is "\{operator}"'):
        parse_filter({"key": {operator[1:]: ["x"]}})


def test_size_of_a_filter_is_limited() -> None:
    values = list(range(MAX_TESTS - 1))
    nested: dict[str, Any] = {"a": {}}
    for _ in range(MAX_TESTS):
        nested = {"a": nested}
    assert parse_filter({"a": {"$in": values}})
    for value in (
        {"a": {"$in": [*values, 1]}},
        {"a": [*values, 1]},
        {str(n): n for n in range(MAX_TESTS + 1)},
        nested,
    ):
        with pytest.raises(ValueError, match=f"more than {MAX_TESTS} values"):
            parse_filter(value)


def test_long_keys_are_shortened_in_errors() -> None:
    with pytest.raises(ValueError) as refusal:
        parse_filter({"k" * 16_000: {"$regex" + "x" * 16_000: 1}})
    assert len(str(refusal.value)) < 400


def test_place_is_not_ambiguous_for_json() -> None:
    """The place quotes keys as they are; it is for people."""
    with pytest.raises(ValueError) as refusal:
        parse_filter(json.loads('{"a b": {"\\"c": {"$gt": null}}}'))
    assert str(refusal.value).startswith('a b."c.$gt: ')


_NAMES = st.sampled_from([*OPERATORS, "a", "gte", "OR", "$", "$x", ""]) | st.text(max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.dictionaries(_NAMES, _JSON, max_size=3))
def test_any_object_is_parsed_or_refused_with_a_value_error(value: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        parse_filter(value)
