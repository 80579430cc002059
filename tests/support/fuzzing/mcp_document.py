"""The MCP endpoint as an OpenAPI document, so that Schemathesis can call its tools."""

from collections.abc import Sequence
from typing import Any

from mcp_types import Tool


def mcp_document(tools: Sequence[Tool]) -> dict[str, Any]:
    """One operation whose body is a call of any of the tools."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "memex over MCP", "version": "1"},
        "paths": {
            "/mcp": {
                "post": {
                    "parameters": [
                        _header("Accept", "application/json, text/event-stream"),
                        _header("MCP-Protocol-Version", "2025-11-25"),
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": {"oneOf": [_call(t) for t in tools]}}
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "The call's result or its error",
                            "content": {"application/json": {"schema": _ANSWER}},
                        },
                        "202": {"description": "A notification"},
                        "4XX": {"description": "Not a JSON-RPC request"},
                    },
                }
            }
        },
    }


_ANSWER = {
    "type": "object",
    "required": ["jsonrpc", "id"],
    "oneOf": [
        {
            "required": ["result"],
            "properties": {
                "result": {
                    "type": "object",
                    "required": ["content"],
                    "properties": {
                        "content": {"type": "array", "minItems": 1},
                        "isError": {"type": "boolean"},
                    },
                }
            },
        },
        {"required": ["error"]},
    ],
}


def _header(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"const": value}}


def _call(tool: Tool) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["jsonrpc", "id", "method", "params"],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
            "method": {"const": "tools/call"},
            "params": {
                "type": "object",
                "required": ["name", "arguments"],
                "properties": {"name": {"const": tool.name}, "arguments": tool.input_schema},
            },
        },
    }
