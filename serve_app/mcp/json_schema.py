"""JSON Schemas as models and picky clients take them best."""

from typing import Any


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Without references, generated titles, and nulls: what may be null may be left out, which is
    all that a model has to know."""
    definitions = schema.get("$defs", {})
    plain = _plain(schema, definitions)
    assert isinstance(plain, dict)
    return plain


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
        (choice,) = [entry for entry in node["anyOf"] if entry != {"type": "null"}]
        own = {key: value for key, value in node.items() if key != "anyOf"}
        return _plain({**choice, **own}, definitions)
    return {
        key: _properties(value, definitions) if key == "properties" else _plain(value, definitions)
        for key, value in node.items()
        if key not in ("$defs", "title") and not (key == "default" and value is None)
    }


def _properties(properties: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Their names are the caller's: one may be called `title`."""
    return {name: _plain(value, definitions) for name, value in properties.items()}
