"""Reads the named statements of queries.sql."""

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements() -> dict[str, str]:
    """Name → SQL. Raises ValueError where a name stands twice."""
    parts = _NAME.split((Path(__file__).parent / "queries.sql").read_text(encoding="utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError("queries.sql names a statement twice")
    return {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}


def sql(name: str) -> str:
    """The statement of that name. Raises KeyError."""
    return statements()[name]
