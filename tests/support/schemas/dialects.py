"""What the model APIs behind the large clients accept of a tool's JSON schemas.

Clients hand on the schemas that a server lists, changed little or not at all. One schema that an
API refuses fails the whole request, so all tools are lost. Each rule is from the API's
documentation, its SDK, or its answer to public servers' schemas:

- OpenAI, strict function schemas ("Structured outputs", supported schemas), after the Agents SDK's
  conversion, which lists all properties as required.
- Gemini, function declarations (`Schema` of the API; `from_json_schema` of its Python SDK).
- Anthropic, tools (`input_schema`), and its SDK's conversion to strict tools.
"""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

Schema = dict[str, Any]

_OPENAI_FORMATS = {
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid",
}  # fmt: skip
_OPENAI_KEYWORDS = {
    "type", "description", "enum", "const", "anyOf", "properties", "required",
    "additionalProperties", "items", "minItems", "maxItems", "minLength", "maxLength", "pattern",
    "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
}  # fmt: skip
_OPENAI_MAX_DEPTH = 10
_OPENAI_MAX_PROPERTIES = 5_000
_GEMINI_KEYWORDS = {
    "type", "description", "enum", "anyOf", "properties", "required", "additionalProperties",
    "items", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format", "minimum",
    "maximum", "minProperties", "maxProperties", "nullable", "title",
}  # fmt: skip
_BRANCHING = {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "$ref"}


def openai(schema: Schema) -> Iterator[str]:
    """What OpenAI refuses in a strict function's parameters. An object of free form cannot be
    strict; it must say so, or the SDK closes it without a word and the model can only send {}."""
    if schema.get("type") != "object" or "properties" not in schema:
        yield "the root is not an object with properties"
    for path, node in _nodes(schema):
        for keyword in node.keys() - _OPENAI_KEYWORDS:
            yield f"{path}: {keyword} is unknown"
        if node.get("format", "date-time") not in _OPENAI_FORMATS:
            yield f"{path}: the format {node['format']} is unknown"
        if node.get("type") == "object" and "additionalProperties" not in node:
            yield f"{path}: is open or closed, but does not say which"
        if "properties" in node and node.get("additionalProperties") is not False:
            yield f"{path}: has properties and is open"
        for name in node.get("properties", {}).keys() - set(node.get("required", [])):
            if not _allows_null(node["properties"][name]):
                yield f"{path}.{name}: is optional, but not null"
    if max(path.count(".") for path, _ in _nodes(schema)) > _OPENAI_MAX_DEPTH:
        yield "is nested too deep"
    if sum(len(node.get("properties", {})) for _, node in _nodes(schema)) > _OPENAI_MAX_PROPERTIES:
        yield "has too many properties"


def gemini(schema: Schema) -> Iterator[str]:
    """What Gemini refuses or its SDK loses in a function declaration's parameters."""
    for path, node in _nodes(schema):
        if "anyOf" in node:
            for keyword in node.keys() - {"anyOf"}:
                yield f"{path}: {keyword} is beside anyOf"
        elif not isinstance(node.get("type"), str):
            yield f"{path}: has not one type"
        for keyword in node.keys() - _GEMINI_KEYWORDS:
            yield f"{path}: {keyword} is unknown"
        if not all(isinstance(value, str) and value for value in node.get("enum", [])):
            yield f"{path}: enum has other values than texts"
        if "enum" in node and node.get("type") != "string":
            yield f"{path}: enum is of another type than string"
        if node.get("format", "date-time") != "date-time":
            yield f"{path}: the format {node['format']} is unknown"
        if node.get("type") == "array" and "items" not in node:
            yield f"{path}: has no items"
        for name in node.get("properties", {}):
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}", name):
                yield f"{path}: {name!r} is no name"
        if not set(node.get("required", [])) <= node.get("properties", {}).keys():
            yield f"{path}: requires what is not among its properties"


def anthropic(schema: Schema) -> Iterator[str]:
    """What Anthropic refuses in a tool's input schema, and what its SDK's conversion fails at."""
    if schema.get("type") != "object":
        yield "the root is not an object"
    for keyword in schema.keys() & _BRANCHING:
        yield f"{keyword} is at the root"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield f"is not JSON Schema 2020-12: {error.message}"
    for path, node in _nodes(schema):
        if isinstance(node.get("type"), list):
            yield f"{path}: type is a list"
        if "type" not in node and not node.keys() & {"anyOf", "enum"}:
            yield f"{path}: has no type"
        if None in node.get("enum", []):
            yield f"{path}: enum has null"
        for name in node.get("properties", {}):
            if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name):
                yield f"{path}: {name!r} is no name"


def tool_name(name: str) -> Iterator[str]:
    """What any of them refuses in a tool's name."""
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}", name):
        yield f"{name!r} is no name"


def _nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Each schema within a schema, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _nodes(inner, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from _nodes(schema[keyword], f"{path}.{keyword}")
    for inner in schema.get("anyOf", []):
        yield from _nodes(inner, path)


def _allows_null(schema: Schema) -> bool:
    return bool(Draft202012Validator(schema).is_valid(None))
