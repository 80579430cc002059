"""Metadata filters as jsonpath, Postgres's language for predicates on JSON.

The path is a parameter of the statements, compared by `metadata @@ path`, so that all filters share
one plan. `@@` uses the GIN index on metadata for tests of equality, and raises no error on any
data: what cannot be compared does not pass.

In jsonpath's lax mode, `?` and comparisons look at a list's entries instead of the list.
"""

import json

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


def to_jsonpath(test: MetadataTest | None) -> str | None:
    """The path by which metadata matches if it passes the test; None for no test."""
    return None if test is None else _predicate(test, "$")


def _predicate(test: MetadataTest, at: str) -> str:
    """The predicate for the value `at`: `$`, `@`, or a key of one of them, which is an object."""
    match test:
        case Equals(value):
            return f"{at} == {_literal(value)}"
        case OneOf(values):
            # `?` has taken a list apart, and a comparison would do so with its entries.
            is_one = _joined([f"@ == {_literal(value)}" for value in values], "||")
            return f'exists({at} ? (@.type() != "array" && {is_one}))'
        case Within(bounds):
            tests = [f"@ {operator} {_literal(limit)}" for operator, limit in bounds]
            return _some(at, "string" if isinstance(bounds[0][1], str) else "number", tests)
        case Exists():
            return f"exists({at})"
        case Key(name, inner):
            return _predicate(inner, f"{at}.{_literal(name)}")
        case Keys(tests):
            return _some(at, "object", [_predicate(inner, "@") for inner in tests])
        case Entries(tests):
            entries = [_entry(inner, at) for inner in tests]
            return _joined([f'{at}.type() == "array"', *entries], "&&")
        case All(tests):
            return _joined([_predicate(inner, at) for inner in tests], "&&")
        case AnyOf(tests):
            return _joined([_predicate(inner, at) for inner in tests], "||")
        case Not(inner):
            # A comparison of different types is neither true nor false, and so is its negation;
            # exists is false for both.
            return f"!exists({at[0]} ? ({_predicate(inner, at)}))"


def _entry(test: MetadataTest, at: str) -> str:
    """The predicate that an entry of the list `at` passes the test."""
    if isinstance(test, Entries):  # `?` has taken the outer list apart
        return _some(at, "array", [_entry(inner, "@") for inner in test.tests])
    return _predicate(test, at)


def _some(at: str, type_name: str, predicates: list[str]) -> str:
    """The predicate that the value, or one entry of a list, is of the type and passes all."""
    return f"exists({at} ? ({_joined([f'@.type() == {_literal(type_name)}', *predicates], '&&')}))"


def _joined(predicates: list[str], operator: str) -> str:
    """They are evaluated from left to right, as far as needed."""
    if not predicates:
        return "exists($)"
    return predicates[0] if len(predicates) == 1 else f"({f' {operator} '.join(predicates)})"


def _literal(value: object) -> str:
    """jsonpath writes strings, numbers, booleans and null as JSON does."""
    return json.dumps(value, ensure_ascii=False)
