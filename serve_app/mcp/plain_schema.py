"""The tools' JSON schemas, in a form that the model APIs behind all clients accept.

Clients hand a tool's schemas to a model's API unchanged or almost so, and each API takes another
subset of JSON Schema. So there is no `$ref` and no `title`. Optional values are `anyOf` of one
schema and `{"type": "null"}`, with nothing beside it: Gemini refuses lists of types, null in an
`enum`, and keywords beside `anyOf`, and its SDK drops a description there. OpenAI's strict schemas
have no `default`, so the description says it.
"""

import json
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from serve_app.web.json_schema import PlainFormats

_NULL = {"type": "null"}


def plain_schema(of: TypeAdapter[Any], mode: JsonSchemaMode) -> dict[str, Any]:
    """The schema of a type."""
    schema = of.json_schema(mode=mode, schema_generator=PlainFormats)
    plain: dict[str, Any] = _plain(schema, schema.get("$defs", {}))
    return plain


def types_of(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a plain schema allows, without null."""
    return {choice["type"] for choice in schema.get("anyOf", [schema])} - {"null"}


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        own = {key: value for key, value in node.items() if key != "$ref"}
        return _plain({**target, **own}, definitions)
    if "anyOf" in node:
        own = {key: value for key, value in node.items() if key != "anyOf"}
        choices = [entry if entry == _NULL else {**entry, **own} for entry in node["anyOf"]]
        return {"anyOf": _plain(choices, definitions)}
    plain = {
        key: _properties(value, definitions) if key == "properties" else _plain(value, definitions)
        for key, value in node.items()
        if key not in ("$defs", "title", "default")
    }
    if node.get("default") is not None:
        description = f"{plain.get('description', '')} Default: {json.dumps(node['default'])}."
        plain["description"] = description.strip()
    return plain


def _properties(properties: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Keep every property, because one may be called `title`."""
    return {name: _plain(value, definitions) for name, value in properties.items()}
