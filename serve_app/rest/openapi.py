"""Generates the OpenAPI 3.1 document from the table of operations and their schemas."""

from collections.abc import Iterator
from functools import cache
from http import HTTPMethod, HTTPStatus
from types import UnionType
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from serve_app.rest.conditions import IF_MATCH, IF_NONE_MATCH
from serve_app.rest.health import HEALTH, LIVE, READY
from serve_app.rest.input import KEY_HEADER
from serve_app.rest.operation import Operation
from serve_app.rest.routes import OPERATIONS
from serve_app.rest.schemas.answers import HealthOut, StatusOut
from serve_app.web.json_schema import UUID_SCHEMA, PlainFormats
from serve_app.web.jsonl import MEDIA_TYPE
from serve_app.web.problem import Problem

_REF = "#/components/schemas/{model}"
_COMMON_ERRORS = (421, 422, 500, 503)
_BODY_ERRORS = (400, 413, 415)
_ETAG = {
    "ETag": {"description": "A strong tag of the memory's state.", "schema": {"type": "string"}}
}
_RATE_LIMIT = {
    "RateLimit-Policy": {
        "description": 'The limit: "write" or "search";q=CALLS;w=SECONDS;pk=:BASE64 OF AGENT_ID:. '
        "Left out if there is none.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left: "write" or "search";r=CALLS;t=SECONDS UNTIL ONE MORE;pk=….',
        "schema": {"type": "string"},
    },
}
_ERROR_TEXTS = {
    400: "The body is not JSON",
    403: "The operator has disabled this",
    404: "No such memory belongs to this agent",
    409: "The request conflicts with a stored memory or a running write; see detail",
    412: "The memory was changed since; no ETag in If-Match is current",
    413: "The body is larger than 1 MiB",
    415: "The body has another Content-Type than the documented one",
    421: "The service does not serve the host in the Host header",
    422: "The input breaks a rule; errors lists each field",
    429: "The agent's rate limit is reached; try again after Retry-After",
    500: "An internal error",
    503: "A part of the service is unavailable; try again after Retry-After",
}


def openapi_document(version: str) -> dict[str, Any]:
    """The document, as values that JSON can represent."""
    schemas = _Schemas()
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
            operation, schemas
        )
    paths |= _health(schemas)
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
    """Collects the JSON schemas of types, by name."""

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
            {
                "name": name,
                "in": "query",
                "required": name in required,
                "schema": _without_null(field),
            }
            for name, field in schema["properties"].items()
        ]

    def _schema(self, of: type, mode: JsonSchemaMode) -> dict[str, Any]:
        schema, referenced = _json_schema(of, mode)
        self.definitions.update(referenced)
        return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: a query string has no null."""
    if "anyOf" not in schema:
        return schema
    (choice,) = [entry for entry in schema["anyOf"] if entry != {"type": "null"}]
    own = {key: value for key, value in schema.items() if key != "anyOf"}
    if own.get("default", 0) is None:
        del own["default"]
    return {**choice, **own}


@cache  # the schema of errors is used about a hundred times
def _json_schema(of: type, mode: JsonSchemaMode) -> tuple[dict[str, Any], dict[str, Any]]:
    """A type's schema, and the schemas that it refers to, by name."""
    schema = TypeAdapter(of).json_schema(
        ref_template=_REF, mode=mode, schema_generator=PlainFormats
    )
    return schema, schema.pop("$defs", {})


def _describe(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    parameters = []
    if "{memory_id}" in operation.path:
        parameters.append(
            {
                "name": "memory_id",
                "in": "path",
                "required": True,
                "schema": UUID_SCHEMA,
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
    parameters += [_header(name, text) for name, text in _headers(operation)]
    description: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "tags": ["memories"],
        "responses": {str(operation.status): _answer(operation.answer, operation.status, schemas)},
    }
    headers = {
        **(_ETAG if operation.has_etag else {}),
        **(_RATE_LIMIT if HTTPStatus.TOO_MANY_REQUESTS in operation.errors else {}),
    }
    if headers:
        description["responses"][str(operation.status)]["headers"] = headers
    if operation.has_etag and operation.method == HTTPMethod.GET:
        description["responses"]["304"] = {"description": "Not Modified", "headers": _ETAG}
    if operation.lines:
        description["responses"][str(operation.status)]["content"] = _lines(
            [schemas.reference(line, "validation") for line in operation.lines]
        )
    if parameters:
        description["parameters"] = parameters
    errors = {*_COMMON_ERRORS, *operation.errors}
    if operation.body is not None:
        description["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": schemas.reference(operation.body, "validation")}
            },
        }
        errors.update(_BODY_ERRORS)
    if operation.body_lines is not None:
        schema = schemas.reference(operation.body_lines, "validation")
        description["requestBody"] = {"required": True, "content": _lines([schema])}
        errors.add(415)
    for status in sorted(errors):
        description["responses"][str(status)] = _problem(status, schemas)
    return description


def _headers(operation: Operation) -> Iterator[tuple[str, str]]:
    """The request headers that the operation reads, with descriptions."""
    if operation.is_keyed:
        yield (
            KEY_HEADER,
            "Chosen by the caller. A write that is repeated with the same key within 24 hours is "
            "made only once.",
        )
    if operation.is_conditional:
        yield (
            IF_MATCH,
            "ETags of the memory, or *. The change is made only if one of them is the memory's "
            "current ETag.",
        )
    if operation.has_etag and operation.method == HTTPMethod.GET:
        yield IF_NONE_MATCH, "ETags of the memory, or *. If one of them is current: 304."


def _header(name: str, description: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if name == KEY_HEADER:
        schema["maxLength"] = 255
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema,
    }


def _lines(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of JSON Lines, in which each line has one of the schemas."""
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {MEDIA_TYPE: {"schema": schema}}


def _answer(of: Any, status: int, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if of is not None:
        types = of.__args__ if isinstance(of, UnionType) else (of,)
        references = [schemas.reference(one, "serialization") for one in types]
        schema = references[0] if len(references) == 1 else {"anyOf": references}
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
            "Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}},
            **(_RATE_LIMIT if status == HTTPStatus.TOO_MANY_REQUESTS else {}),
        }
    return answer


def _health(schemas: _Schemas) -> dict[str, Any]:
    status = schemas.reference(StatusOut, "serialization")
    parts = {"anyOf": [schemas.reference(HealthOut, "serialization"), status]}
    checks = (
        (HEALTH, "health", "Check the service, its database and its embedder", parts),
        (READY, "ready", "The same, for readiness probes", parts),
        (LIVE, "live", "Check that a process answers, for liveness probes", status),
    )
    return {
        path: {
            "get": {
                "operationId": name,
                "summary": summary,
                "description": "Answers any Host; one that is not served here gets the status "
                "alone. Not rate-limited, and not to be cached.",
                "tags": ["operations"],
                "responses": _health_answers(schema, schemas),
            }
        }
        for path, name, summary, schema in checks
    }


def _health_answers(schema: dict[str, Any], schemas: _Schemas) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    failure = _problem(503, schemas)  # if no replica answers
    failure["content"] |= content
    return {"200": {"description": HTTPStatus.OK.phrase, "content": content}, "503": failure}
