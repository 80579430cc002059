"""Values for JSON schemas, and the places in them where a caller may write something else."""

import copy
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
Path = tuple[str | int, ...]

UUID = "00000000-0000-7000-8000-000000000007"
_TIME = "2026-01-01T00:00:00Z"


class Samples:
    """Makes values for schemas whose references are among `definitions`, by name."""

    def __init__(self, definitions: Schema | None = None) -> None:
        self._definitions = definitions or {}

    def value(self, schema: Schema) -> Any:
        """A valid value: an object has its required properties only, an array one item."""
        schema = self._resolved(schema)
        if "enum" in schema:
            return schema["enum"][0]
        match schema["type"]:
            case "object":
                properties = schema.get("properties", {})
                return {name: self.value(properties[name]) for name in schema.get("required", [])}
            case "array":
                return [self.value(schema["items"])]
            case "string" if schema.get("format") == "date-time":
                return _TIME
            case "string":
                return UUID if "pattern" in schema else "x" * schema.get("minLength", 1)
            case "boolean":
                return True
        return schema.get("minimum", 1)

    def properties(self, schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema, bool]]:
        """The path, schema and whether it is required of each property at any depth. A path goes
        through the first item of an array."""
        schema = self._resolved(schema)
        for name, inner in schema.get("properties", {}).items():
            yield (*path, name), self._resolved(inner), name in schema.get("required", [])
            yield from self.properties(inner, (*path, name))
        if "items" in schema:
            yield from self.properties(schema["items"], (*path, 0))

    def _resolved(self, schema: Schema) -> Schema:
        """The schema without references and null."""
        while "$ref" in schema or "anyOf" in schema:
            if "$ref" in schema:
                schema = self._definitions[schema["$ref"].rpartition("/")[2]]
            else:
                schema = next(choice for choice in schema["anyOf"] if choice != {"type": "null"})
        return schema


def with_value(value: Any, path: Path, inner: Any) -> Any:
    """A copy of `value` that has `inner` at `path`."""
    changed = copy.deepcopy(value)
    node = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = inner
    return changed


def misspelt(name: str) -> list[str]:
    """A name as a caller may write it: in camel case, with a letter too many."""
    first, *others = name.split("_")
    return [*([first + "".join(map(str.title, others))] if others else []), f"{name}z"]
