"""A server for tests only: the product's, over an in-memory store, with the suite's fixtures.

`python -m tests.conformance.server PORT`
"""

import importlib.metadata
import sys
import warnings
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.server import HandlerEntry
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import (
    CompleteRequestParams,
    EmptyResult,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from starlette.applications import Starlette

from serve_app.mcp.answering import ServiceBackend
from serve_app.mcp.asgi import build_mcp_app, scope_of_request
from serve_app.mcp.server import build_server
from serve_app.services.memories import MemoryService
from tests.conformance.fixtures import TEMPLATE_PREFIX, build_fixtures, complete
from tests.conformance.input_required import add_input_required
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.store import in_memory_store

_LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resource_templates",
    "prompts/list": "prompts",
}
_ACCEPTED_WITHOUT_EFFECT: dict[str, type[RequestParams]] = {
    "logging/setLevel": SetLevelRequestParams,
    "resources/subscribe": SubscribeRequestParams,
    "resources/unsubscribe": UnsubscribeRequestParams,
}


class _NoMetrics:
    def count_request(self, method: str, route: str, status: int, duration_s: float) -> None: ...

    def count_rate_limited(self, operation: str) -> None: ...

    def count_tool_call(self, tool: str, is_error: bool, duration_s: float) -> None: ...


def build_app() -> Starlette:
    service = MemoryService(FakeEmbedder(), in_memory_store())
    metrics = _NoMetrics()
    version = importlib.metadata.version("memex-serve")
    server = build_server(ServiceBackend(service, metrics), scope_of_request, version)
    fixtures = build_fixtures()
    add_input_required(fixtures)
    _merge(server, fixtures)
    return build_mcp_app(server, metrics, (), (), with_streams=True)


def _merge(server: "Server[Any]", fixtures: MCPServer) -> None:
    """Add the fixtures to the server; requests for anything else reach the product's handlers."""
    fixture_server = fixtures._lowlevel_server
    for method, field in _LISTS.items():
        _join(server, method, _entry(fixture_server, method), field)

    async def is_tool(params: Any) -> bool:
        return params.name in [tool.name for tool in await fixtures.list_tools()]

    async def is_prompt(params: Any) -> bool:
        return params.name in [prompt.name for prompt in await fixtures.list_prompts()]

    async def is_resource(params: Any) -> bool:
        known = [str(resource.uri) for resource in await fixtures.list_resources()]
        return str(params.uri) in known or str(params.uri).startswith(TEMPLATE_PREFIX)

    for method, is_fixture in {
        "tools/call": is_tool,
        "prompts/get": is_prompt,
        "resources/read": is_resource,
    }.items():
        _divert(server, method, _entry(fixture_server, method), is_fixture)
    listen = _entry(fixture_server, "subscriptions/listen")
    server.add_request_handler("subscriptions/listen", listen.params_type, listen.handler)
    server.add_request_handler("completion/complete", CompleteRequestParams, complete)
    for method, params_type in _ACCEPTED_WITHOUT_EFFECT.items():
        server.add_request_handler(method, params_type, _accept)

    own_schema, fixture_schema = server.get_tool_input_schema, fixture_server.get_tool_input_schema
    assert own_schema is not None
    assert fixture_schema is not None
    server.get_tool_input_schema = lambda name: own_schema(name) or fixture_schema(name)
    security = RequestStateSecurity.ephemeral()
    server.middleware.append(RequestStateBoundary(security, default_audience=server.name))


def _join(server: "Server[Any]", method: str, added: HandlerEntry[Any], field: str) -> None:
    own = _entry(server, method)

    async def list_both(context: Any, params: Any) -> Any:
        first: Any = await own.handler(context, params)
        second: Any = await added.handler(context, params)
        both = [*getattr(first, field), *getattr(second, field)]
        return first.model_copy(update={field: both})

    server.add_request_handler(method, own.params_type, list_both)


def _divert(
    server: "Server[Any]", method: str, fixture: HandlerEntry[Any], is_fixture: Any
) -> None:
    own = _entry(server, method)

    async def dispatch(context: Any, params: Any) -> Any:
        entry = fixture if await is_fixture(params) else own
        return await entry.handler(context, params)

    server.add_request_handler(method, own.params_type, dispatch)


def _entry(server: "Server[Any]", method: str) -> HandlerEntry[Any]:
    entry = server.get_request_handler(method)
    assert entry is not None, method
    return entry


async def _accept(_context: Any, _params: Any) -> EmptyResult:
    return EmptyResult()


if __name__ == "__main__":
    # The suite also tests earlier versions, with features that 2026-07-28 deprecates.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    uvicorn.run(
        build_app(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        http="httptools",  # as in a replica without HAProxy
        timeout_graceful_shutdown=1,  # some streams of the suite never end
    )
