"""Metadata filters: the language in which searches and lists select memories by their metadata.

A filter is a JSON object, such as `{"project": "x", "priority": {"$gte": 5}}`. `parse_filter` turns
it into a test of a memory's metadata, or refuses it and names the place: a filter is evaluated as a
whole or not at all.

A plain value is matched by containment: an object by an object with at least its keys, a list by a
list with at least its entries, anything else by an equal value. Where no list is asked for, a list
matches if one of its entries does. An object whose keys begin with `$` holds operators.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
Bound: TypeAlias = str | int | float

MAX_TESTS = 256
"""A filter may have this many values, lists and objects: a search may evaluate it for each memory
of a scope."""


@dataclass(frozen=True, slots=True)
class Equals:
    """The value, or one entry of it if it is a list, is `value`. 1 is 1.0, but not true."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value, or one entry of it if it is a list, equals one of `values`."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """The value, or one entry of it if it is a list, is within all `bounds`: an operator (`>`,
    `>=`, `<`, `<=`) and a limit each. The limits are all numbers or all strings, and only values of
    that type pass; strings are ordered by code point."""

    bounds: tuple[tuple[str, Bound], ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value; null is one."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The value is a list, and each of `tests` (Equals, Keys or Entries) holds for an entry of it:
    for the entry itself, not for entries of that entry."""

    tests: "tuple[MetadataTest, ...]"


@dataclass(frozen=True, slots=True)
class Keys:
    """The value, or one entry of it if it is a list, is an object that passes all `tests`."""

    tests: "tuple[MetadataTest, ...]"


@dataclass(frozen=True, slots=True)
class Key:
    """`test` holds for the object's value of the key `name`."""

    name: str
    test: "MetadataTest"


@dataclass(frozen=True, slots=True)
class All:
    tests: "tuple[MetadataTest, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    tests: "tuple[MetadataTest, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """`test` does not hold, for whatever reason: it also passes if the value is missing."""

    test: "MetadataTest"


MetadataTest: TypeAlias = (
    Equals | OneOf | Within | Exists | Entries | Keys | Key | All | AnyOf | Not
)

_MAX_KEY_CHARS = 64  # of a key in an error

_BOUNDS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_LOGICAL = ("$and", "$or", "$not")
OPERATORS = ("$eq", "$ne", "$in", "$nin", *_BOUNDS, "$exists", *_LOGICAL)

# What other languages call operators, in lower case and without `$`, `_` and `-`; None: there is no
# such operator here.
_SPELLINGS: dict[str, str | None] = {
    **{operator[1:]: operator for operator in OPERATORS},
    "=": "$eq", "==": "$eq", "===": "$eq", "equals": "$eq", "contains": "$eq",
    "!=": "$ne", "<>": "$ne", "neq": "$ne", "notequals": "$ne", "notcontains": "$ne",
    "anyof": "$in", "notin": "$nin",
    ">": "$gt", ">=": "$gte", "ge": "$gte", "<": "$lt", "<=": "$lte", "le": "$lte",
    "between": "$gte",
    "&&": "$and", "must": "$and", "||": "$or", "should": "$or",
    "!": "$not", "mustnot": "$not", "nor": "$not",
    "icontains": None, "like": None, "ilike": None, "regex": None, "startswith": None,
    "endswith": None,
}  # fmt: skip


def parse_filter(value: Mapping[str, Any]) -> MetadataTest:
    """The test that a filter describes, which is for an object. Raises ValueError, with the place
    in the filter."""
    return _Parser().filter(value, "")


class _Parser:
    """Parses one filter. A place is written as `$or[1].priority.$gte`."""

    def __init__(self) -> None:
        self._tests = 0

    def filter(self, value: Mapping[str, Any], place: str) -> MetadataTest:
        """The test of an object whose keys are those of metadata, or `$and`, `$or` and `$not`."""
        return _joined(
            All, [self._clause(key, item, _join(place, key)) for key, item in value.items()]
        )

    def _clause(self, key: str, item: Any, place: str) -> MetadataTest:
        if key == "$not":
            return Not(self._operand(item, place))
        if key in ("$and", "$or"):
            if not isinstance(item, list) or not item:
                raise _refused(place, f"{key} takes a list of at least one filter")
            tests = [self._operand(one, f"{place}[{n}]") for n, one in enumerate(item)]
            return _joined(All if key == "$and" else AnyOf, tests)
        if key.startswith("$"):
            if key in OPERATORS:
                raise _refused(place, f'{key} stands under a key: {{"key": {{"{key}": …}}}}')
            raise _unknown(key, place)
        if isinstance(item, dict | list):
            _check_name(key, item, place)
        return Key(key, self._value(item, place))

    def _operand(self, value: Any, place: str) -> MetadataTest:
        if not isinstance(value, dict) or not value:
            raise _refused(place, "must be a filter: an object with at least one key")
        return self.filter(value, place)

    def _value(self, value: Any, place: str, *, in_list: bool = False) -> MetadataTest:
        """The test that a plain value or an object of operators describes."""
        if not isinstance(value, dict | list):
            return self._equals(value)
        self._count()
        if isinstance(value, list):
            items = enumerate(value)
            return Entries(tuple(self._value(v, f"{place}[{n}]", in_list=True) for n, v in items))
        operators = [key for key in value if key.startswith("$")]
        if not operators:
            tests = []
            for key, item in value.items():
                inner = _join(place, key)
                _check_name(key, item, inner)
                tests.append(Key(key, self._value(item, inner, in_list=in_list)))
            return Keys(tuple(tests))
        if in_list:
            reason = "a list holds plain values: an operator that is not in a list tests entries"
            raise _refused(_join(place, operators[0]), reason)
        if len(operators) < len(value):
            reason = "operators and plain keys cannot stand side by side: join them with $and"
            raise _refused(_join(place, operators[0]), reason)
        return self._operators(value, place)

    def _operators(self, value: dict[str, Any], place: str) -> MetadataTest:
        tests = [
            self._operator(key, item, _join(place, key))
            for key, item in value.items()
            if key not in _BOUNDS
        ]
        bounds = {key: value[key] for key in value if key in _BOUNDS}
        if bounds:
            tests.append(self._within(bounds, place))
        return _joined(All, tests)

    def _operator(self, operator: str, operand: Any, place: str) -> MetadataTest:
        if operator in ("$eq", "$ne"):
            equals = self._equals(_scalar(operand, place, operator))
            return equals if operator == "$eq" else Not(equals)
        if operator in ("$in", "$nin"):
            if not isinstance(operand, list) or not operand:
                raise _refused(place, f"{operator} takes a list of at least one value")
            scalars = [_scalar(v, f"{place}[{n}]", operator) for n, v in enumerate(operand)]
            self._count(len(scalars))
            one_of = OneOf(tuple(scalars))
            return one_of if operator == "$in" else Not(one_of)
        if operator == "$exists":
            if not isinstance(operand, bool):
                raise _refused(place, "$exists takes true or false")
            return Exists() if operand else Not(Exists())
        if operator == "$not":
            if not isinstance(operand, dict) or not operand:
                reason = '$not takes an object, such as {"$gte": 5}; for a value, use $ne'
                raise _refused(place, reason)
            return Not(self._value(operand, place))
        if operator in _LOGICAL:
            raise _refused(
                place, f'{operator} stands beside keys: {{"{operator}": [{{"key": …}}]}}'
            )
        raise _unknown(operator, place)

    def _within(self, operands: Mapping[str, Any], place: str) -> MetadataTest:
        types = set()
        for operator, operand in operands.items():
            self._count()
            if isinstance(operand, bool) or not isinstance(operand, str | int | float):
                raise _refused(_join(place, operator), f"{operator} takes a number or a string")
            types.add(isinstance(operand, str))
        if len(types) > 1:
            raise _refused(place, "compares with a number and a string: no value is both")
        least = max((operands[key] for key in ("$gt", "$gte") if key in operands), default=None)
        most = min((operands[key] for key in ("$lt", "$lte") if key in operands), default=None)
        if least is not None and most is not None and least > most:
            raise _refused(place, "no value is in this range: its limits are the wrong way round")
        return Within(tuple((_BOUNDS[key], operand) for key, operand in operands.items()))

    def _equals(self, value: Scalar) -> MetadataTest:
        self._count()
        return Equals(value)

    def _count(self, tests: int = 1) -> None:
        self._tests += tests
        if self._tests > MAX_TESTS:
            raise ValueError(f"has more than {MAX_TESTS} values, lists and objects")


def _joined(by: type[All] | type[AnyOf], tests: list[MetadataTest]) -> MetadataTest:
    return tests[0] if len(tests) == 1 else by(tuple(tests))


def _scalar(value: Any, place: str, operator: str) -> Scalar:
    if value is None or isinstance(value, str | int | float):
        return value
    reason = (
        f"{operator} compares with a string, a number, true, false or null; a list or an object"
    )
    raise _refused(place, f"{reason} is matched by containment, without an operator")


def _check_name(key: str, item: Any, place: str) -> None:
    """Refuse a key that is meant as an operator. Under such a key, operators are accepted: nobody
    writes them under an operator."""
    spelling = _normalized(key)
    if spelling not in _SPELLINGS or (
        isinstance(item, dict) and item and all(name.startswith("$") for name in item)
    ):
        return
    literal = f'for a key of this name, write {{"{_shortened(key)}": {{"$eq": …}}}}'
    raise _refused(place, f"{_no_operator(key)}; {literal}")


def _unknown(key: str, place: str) -> ValueError:
    return _refused(place, _no_operator(key))


def _no_operator(key: str) -> str:
    spelling = _normalized(key)
    nearest = _SPELLINGS.get(spelling)
    if nearest is None and spelling not in _SPELLINGS:
        close = get_close_matches(f"${spelling}", OPERATORS, n=1)
        nearest = close[0] if close else None
    if nearest is None:
        return f'"{_shortened(key)}" is not an operator; there are {", ".join(OPERATORS)}'
    return f'"{_shortened(key)}" is not an operator; the nearest is "{nearest}"'


def _normalized(key: str) -> str:
    return key.removeprefix("$").replace("_", "").replace("-", "").lower()


def _join(place: str, key: str) -> str:
    return f"{place}.{_shortened(key)}" if place else _shortened(key)


def _shortened(key: str) -> str:
    return key if len(key) <= _MAX_KEY_CHARS else f"{key[:_MAX_KEY_CHARS]}…"


def _refused(place: str, reason: str) -> ValueError:
    return ValueError(f"{place}: {reason}")
