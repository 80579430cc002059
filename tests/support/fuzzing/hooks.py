"""Schemathesis's hooks: JSON Lines, which it does not know."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context: Any, value: Any) -> bytes:
    """A body of the one line that the schema describes."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def read_lines(_context: Any, response: Any) -> Any:
    """An answer's lines; the document describes each of them."""
    return [json.loads(line) for line in response.content.splitlines()][-1]
