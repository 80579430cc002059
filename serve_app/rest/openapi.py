"""The OpenAPI 3.1 document, generated from the table of operations and the schemas they name."""

from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from serve_app.rest.input import KEY_HEADER
from serve_app.rest.operation import Operation
from serve_app.rest.routes import OPERATIONS
from serve_app.rest.schemas.answers import HealthOut
from serve_app.web.jsonl import MEDIA_TYPE
from serve_app.web.problem import Problem

_REF = "#/components/schemas/{model}"
_COMMON_ERRORS = (421, 422, 500, 503)
_BODY_ERRORS = (400, 413, 415)
_ERROR_TEXTS = {
    400: "The body is not JSON",
    403: "The operator has switched this off",
    404: "No such memory belongs to this agent",
    409: "It is at odds with what is there or under way; detail says how",
    413: "The body is larger than 1 MiB",
    415: "The body is not sent as the content type that is named here",
    421: "The Host header names a host that is not served here",
    422: "The input breaks a rule; errors names each field",
    429: "The agent's rate limit is used up; Retry-After says for how long",
    500: "An internal error",
    503: "A part of the service is not available; Retry-After says when to try again",
}


def openapi_document(version: str) -> dict[str, Any]:
    """The whole document, as JSON-ready values."""
    schemas = _Schemas()
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
            operation, schemas
        )
    paths["/health"] = {"get": _health(schemas)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "memex",
            "version": version,
            "description": "Persistent memory for AI agents: store, search, forget.",
        },
        "paths": paths,
        "components": {"schemas": schemas.definitions},
    }


class _Schemas:
    """Collects each type's JSON schema under its name."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def reference(self, of: type, mode: JsonSchemaMode) -> dict[str, Any]:
        schema = self._schema(of, mode)
        self.definitions[of.__name__] = schema
        return {"$ref": _REF.format(model=of.__name__)}

    def parameters(self, of: type[BaseModel]) -> list[dict[str, Any]]:
        schema = self._schema(of, "validation")
        required = schema.get("required", [])
        return [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in schema["properties"].items()
        ]

    def _schema(self, of: type, mode: JsonSchemaMode) -> dict[str, Any]:
        schema, named = _json_schema(of, mode)
        self.definitions.update(named)
        return schema


@cache  # an error's schema alone is named a hundred times
def _json_schema(of: type, mode: JsonSchemaMode) -> tuple[dict[str, Any], dict[str, Any]]:
    """A type's schema, and those that it refers to by their names."""
    schema = TypeAdapter(of).json_schema(ref_template=_REF, mode=mode)
    return schema, schema.pop("$defs", {})


def _describe(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    parameters = []
    if "{memory_id}" in operation.path:
        parameters.append(
            {
                "name": "memory_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "format": "uuid"},
            }
        )
    if "{agent_id}" in operation.path:
        parameters.append(
            {
                "name": "agent_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            }
        )
    if operation.query is not None:
        parameters += schemas.parameters(operation.query)
    if operation.is_keyed:
        parameters.append(
            {
                "name": KEY_HEADER,
                "in": "header",
                "required": False,
                "description": "Of the caller's choice: the same write with the same key is made "
                "once in 24 hours.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "tags": ["memories"],
        "responses": {str(operation.status): _answer(operation.answer, operation.status, schemas)},
    }
    if operation.lines:
        described["responses"][str(operation.status)]["content"] = _lines(
            [schemas.reference(line, "validation") for line in operation.lines]
        )
    if parameters:
        described["parameters"] = parameters
    errors = {*_COMMON_ERRORS, *operation.errors}
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": schemas.reference(operation.body, "validation")}
            },
        }
        errors.update(_BODY_ERRORS)
    if operation.body_lines is not None:
        schema = schemas.reference(operation.body_lines, "validation")
        described["requestBody"] = {"required": True, "content": _lines([schema])}
        errors.add(415)
    for status in sorted(errors):
        described["responses"][str(status)] = _problem(status, schemas)
    return described


def _lines(of: list[dict[str, Any]]) -> dict[str, Any]:
    """JSON Lines, each of which is one of these."""
    schema = of[0] if len(of) == 1 else {"oneOf": of}
    return {MEDIA_TYPE: {"schema": schema}}


def _answer(of: type | None, status: int, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if of is not None:
        schema = schemas.reference(of, "serialization")
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _problem(status: int, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas.reference(Problem, "serialization")
    answer: dict[str, Any] = {
        "description": _ERROR_TEXTS[status],
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in (429, 503):
        answer["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    return answer


def _health(schemas: _Schemas) -> dict[str, Any]:
    return {
        "operationId": "health",
        "summary": "Whether the service and what it stands on are well",
        "tags": ["operations"],
        "responses": {
            "200": _answer(HealthOut, 200, schemas),
            "503": _answer(HealthOut, 503, schemas),
        },
    }
