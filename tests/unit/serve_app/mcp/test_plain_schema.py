"""Schemas of tools that every large client's model API accepts, and that say what calls accept."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp_types import Tool
from pydantic import TypeAdapter

from deployments.domain.memories import MemoryType
from serve_app.mcp.plain_schema import plain_schema, types_of
from serve_app.mcp.scope import FixedScope
from serve_app.mcp.tools import TOOLS
from serve_app.web.input_model import Input
from tests.support.schemas import dialects

Lint = Callable[[dict[str, Any]], Iterator[str]]
LINTS: list[Lint] = [dialects.openai, dialects.gemini, dialects.anthropic]
SCOPES = [FixedScope(), FixedScope("a"), FixedScope("a", "u")]
OPTIONAL = [
    (tool.name, argument)
    for tool in TOOLS.values()
    for argument in tool.definition(FixedScope()).input_schema["properties"]
    if argument not in tool.definition(FixedScope()).input_schema["required"]
]


def definition(tool: str, scope: FixedScope) -> Tool:
    return TOOLS[tool].definition(scope)


@pytest.mark.parametrize("lint", LINTS, ids=lambda lint: lint.__name__)
@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: ",".join(scope.fields) or "open")
@pytest.mark.parametrize("tool", TOOLS)
def test_arguments_are_of_every_dialect(tool: str, scope: FixedScope, lint: Lint) -> None:
    assert list(lint(definition(tool, scope).input_schema)) == []
    assert list(dialects.tool_name(tool)) == []


@pytest.mark.parametrize("lint", [dialects.gemini, dialects.anthropic], ids=lambda it: it.__name__)
@pytest.mark.parametrize("tool", TOOLS)
def test_results_are_of_every_dialect(tool: str, lint: Lint) -> None:
    schema = definition(tool, FixedScope()).output_schema
    assert schema is not None
    assert list(lint(schema)) == []


@pytest.mark.parametrize(("tool", "argument"), OPTIONAL)
def test_optional_arguments_may_be_null_by_the_schema(tool: str, argument: str) -> None:
    schema = definition(tool, FixedScope()).input_schema["properties"][argument]
    assert Draft202012Validator(schema).is_valid(None)
    assert types_of(schema)


def test_there_are_optional_arguments() -> None:
    assert len(OPTIONAL) >= 15


class Example(Input):
    kind: MemoryType
    title: str | None = None
    size: int = 3
    sizes: list[MemoryType | None] | None = None


def test_schema_is_plain() -> None:
    kinds = {"type": "string", "enum": ["episodic", "semantic", "procedural"]}
    schema = plain_schema(TypeAdapter(Example), "validation")
    description = MemoryType.__doc__
    nullable = {"anyOf": [{**kinds, "description": description}, {"type": "null"}]}
    assert schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind"],
        "properties": {
            "kind": {**kinds, "description": description},
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "size": {
                "anyOf": [{"type": "integer", "description": "Default: 3."}, {"type": "null"}]
            },
            "sizes": {"anyOf": [{"type": "array", "items": nullable}, {"type": "null"}]},
        },
    }


def one(**schema: Any) -> dict[str, Any]:
    """A schema of one required property, x."""
    return {
        "type": "object",
        "properties": {"x": schema},
        "required": ["x"],
        "additionalProperties": False,
    }


NULL = {"type": "null"}
REFUSED: list[tuple[Lint, dict[str, Any], str]] = [
    (dialects.openai, {"type": "object"}, "the root is not an object with properties"),
    (dialects.openai, {**one(type="string"), "required": []}, ".x: is optional, but not null"),
    (dialects.openai, one(type="string", default="a"), ".x: default is unknown"),
    (dialects.openai, one(type="string", title="X"), ".x: title is unknown"),
    (dialects.openai, one(allOf=[{"type": "string"}]), ".x: allOf is unknown"),
    (dialects.openai, one(type="string", format="uri"), ".x: the format uri is unknown"),
    (dialects.openai, one(type="object"), ".x: is open or closed, but does not say which"),
    (dialects.openai, {**one(type="string"), "additionalProperties": True}, "has properties and"),
    (dialects.openai, one(type="array", items=one(type="x", format="uri")), ".x.items.x: the"),
    (dialects.gemini, one(type=["string", "null"]), ".x: has not one type"),
    (dialects.gemini, one(description="any"), ".x: has not one type"),
    (dialects.gemini, one(anyOf=[{"type": "string"}, NULL], description="d"), "beside anyOf"),
    (dialects.gemini, one(anyOf=[{"type": "string", "enum": ["a", None]}, NULL]), "enum has"),
    (dialects.gemini, one(type="string", enum=["a", ""]), ".x: enum has other values than texts"),
    (dialects.gemini, one(type="integer", enum=["1"]), ".x: enum is of another type"),
    (dialects.gemini, one(type="string", format="uuid"), ".x: the format uuid is unknown"),
    (dialects.gemini, one(type="number", exclusiveMinimum=0), ".x: exclusiveMinimum is unknown"),
    (dialects.gemini, one(type="array"), ".x: has no items"),
    (dialects.gemini, {**one(type="string"), "required": ["y"]}, "requires what is not among"),
    (dialects.gemini, {"type": "object", "properties": {"a b": NULL}}, "'a b' is no name"),
    (dialects.anthropic, {**one(type="string"), "anyOf": [NULL]}, "anyOf is at the root"),
    (dialects.anthropic, {"properties": {}}, "the root is not an object"),
    (dialects.anthropic, one(type="text"), "is not JSON Schema 2020-12"),
    (dialects.anthropic, one(type=["string", "null"]), ".x: type is a list"),
    (dialects.anthropic, one(enum=["a", None]), ".x: enum has null"),
    (dialects.anthropic, one(description="any"), ".x: has no type"),
]


@pytest.mark.parametrize(("lint", "schema", "problem"), REFUSED)
def test_lint_finds_what_a_dialect_lacks(lint: Lint, schema: dict[str, Any], problem: str) -> None:
    assert any(problem in found for found in lint(schema))


def test_lint_finds_nesting_and_names() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(12):
        schema = one(**schema)
    assert "is nested too deep" in list(dialects.openai(schema))
    assert list(dialects.tool_name("a tool")) == ["'a tool' is no name"]
