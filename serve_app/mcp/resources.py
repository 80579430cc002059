"""Memories as resources: `memory://{id}` is one memory, `memory://recent` the newest ones.

If the connection does not fix an agent, the URI names it: `memory://recent?agent_id=…`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from mcp_types import Resource, ResourceTemplate

from deployments.domain.errors import InvalidInput
from serve_app.mcp import schemas
from serve_app.mcp.errors import shortened
from serve_app.mcp.results import in_brief, recent_result
from serve_app.mcp.scope import FixedScope
from serve_app.services.memories import MemoryService
from serve_app.web.input_model import unknown_name

JSON = "application/json"
_SCHEME = "memory"
_RECENT = "recent"
_RECENT_LIMIT = 50
_PARAMETERS = ("agent_id", "user_id")


def resources(fixed: FixedScope) -> list[Resource]:
    """The resources whose URIs need no parameters: none unless the agent is fixed."""
    if fixed.agent_id is None:
        return []
    return [
        Resource(
            uri=f"{_SCHEME}://{_RECENT}",
            name=_RECENT,
            title="Recent memories",
            description="The newest memories, newest first.",
            mime_type=JSON,
        )
    ]


def resource_templates(fixed: FixedScope) -> list[ResourceTemplate]:
    open_names = [name for name in ("agent_id", "user_id") if name not in fixed.fields]
    templates = [
        ResourceTemplate(
            uri_template=f"{_SCHEME}://{{id}}{_query([n for n in open_names if n == 'agent_id'])}",
            name="memory",
            title="A memory",
            description="One memory, by its id.",
            mime_type=JSON,
        )
    ]
    if open_names:
        templates.append(
            ResourceTemplate(
                uri_template=f"{_SCHEME}://{_RECENT}{_query(open_names)}",
                name=_RECENT,
                title="Recent memories",
                description="The newest memories of an agent, or of one of its users.",
                mime_type=JSON,
            )
        )
    return templates


def _query(names: list[str]) -> str:
    """A form-style query expansion (RFC 6570)."""
    return f"{{?{','.join(names)}}}" if names else ""


async def read_resource(service: MemoryService, uri: str, fixed: FixedScope) -> Mapping[str, Any]:
    """The memory or memories that a URI names. Raises InvalidInput, MemoryNotFound,
    ValidationError."""
    name, parameters = _parse(uri)
    if name == _RECENT:
        filled = fixed.fill_in(parameters, ["agent_id", "user_id"])
        listing = schemas.ListMemories.model_validate(filled)
        page = await service.list_page(listing.agent_id, listing.user_id, page_size=_RECENT_LIMIT)
        return recent_result(page.memories, listing.max_tokens, listing.user_id is None)
    if "user_id" in parameters:
        raise InvalidInput("uri", "takes a user_id only for memory://recent")
    filled = fixed.fill_in(parameters, ["agent_id"])
    arguments = schemas.GetMemory.model_validate({**filled, "id": _id(name)})
    memory = await service.get(arguments.agent_id, arguments.id)
    fixed.check(memory)
    return in_brief(memory, with_user=fixed.user_id is None)


def _parse(uri: str) -> tuple[str, dict[str, str]]:
    """The name after `memory://`, and the query's parameters. Raises InvalidInput."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidInput("uri", f"is malformed ({error})") from None
    if parts.scheme != _SCHEME or parts.path not in ("", "/") or parts.fragment:
        raise InvalidInput("uri", f"is neither {_SCHEME}://recent nor {_SCHEME}://{{id}}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidInput("uri", "gives a parameter more than once")
    unknown = [name for name, _ in pairs if name not in _PARAMETERS]
    if unknown:
        raise InvalidInput(f"uri: {shortened(unknown[0])}", unknown_name(unknown[0], _PARAMETERS))
    return parts.netloc, dict(pairs)


def _id(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        raise InvalidInput(
            "uri", f"{shortened(name)!r} is neither {_RECENT!r} nor a memory's id"
        ) from None
