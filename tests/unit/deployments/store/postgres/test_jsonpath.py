"""Metadata filters as jsonpath."""

from typing import Any

import pytest

from deployments.domain.metadata_filters import parse_filter
from deployments.store.postgres.jsonpath import to_jsonpath


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"project": "x"}, '$."project" == "x"'),
        ({"a": 1, "b": None}, '($."a" == 1 && $."b" == null)'),
        ({"a": {"$in": [1, 2]}}, 'exists($."a" ? (@.type() != "array" && (@ == 1 || @ == 2)))'),
        ({'a"b\\': 'x") || (1 == 1'}, '$."a\\"b\\\\" == "x\\") || (1 == 1"'),
    ],
    ids=str,
)
def test_filters_become_jsonpath(value: dict[str, Any], path: str) -> None:
    assert to_jsonpath(parse_filter(value)) == path


def test_no_filter_is_no_path() -> None:
    assert to_jsonpath(None) is None
