"""The tools, in one table from which calls are dispatched and definitions are made."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core
from mcp_types import Tool, ToolAnnotations
from pydantic import TypeAdapter

from deployments.domain.errors import InvalidInput
from deployments.domain.memories import ListFilters
from serve_app.mcp import schemas
from serve_app.mcp.plain_schema import plain_schema, types_of
from serve_app.mcp.results import in_brief, page_result, search_result, time_in_brief
from serve_app.mcp.scope import FixedScope
from serve_app.services.memories import MemoryService
from serve_app.web.cursor import decode_cursor

Handler = Callable[[MemoryService, Any, FixedScope], Awaitable[Mapping[str, Any]]]


def from_json_text(text: str) -> Any:
    """The value that a text is as JSON; the text itself if it is none."""
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


@dataclass(frozen=True)
class MemoryTool:
    """One tool: its handler and its definition."""

    handler: Handler
    arguments: type[schemas.Arguments]
    result: Any
    title: str
    description: str
    is_read_only: bool = False
    is_destructive: bool = False
    is_idempotent: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__

    async def call(
        self, service: MemoryService, arguments: Mapping[str, Any], fixed: FixedScope
    ) -> Mapping[str, Any]:
        """Raises MemexError, ValidationError."""
        return await self.handler(service, self.read(arguments, fixed), fixed)

    def read(self, arguments: Mapping[str, Any], fixed: FixedScope) -> schemas.Arguments:
        """The arguments, validated. Raises InvalidInput, ValidationError."""
        filled = fixed.fill_in(arguments, list(self.arguments.model_fields))
        for name in self._without_text.intersection(filled):
            if isinstance(filled[name], str):  # some clients send every argument as text
                filled[name] = from_json_text(filled[name])
        try:
            raw = pydantic_core.to_json(filled, inf_nan_mode="constants")
        except ValueError:
            raise InvalidInput("arguments", "cannot be written as JSON in UTF-8") from None
        return self.arguments.model_validate_json(raw)  # strict by the rules for JSON

    @functools.cached_property
    def _schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arguments: TypeAdapter[Any] = TypeAdapter(self.arguments)
        return plain_schema(arguments, "validation"), plain_schema(
            TypeAdapter(self.result), "serialization"
        )

    @functools.cached_property
    def _without_text(self) -> frozenset[str]:
        """The arguments that cannot be text."""
        properties = self._schemas[0]["properties"].items()
        return frozenset(name for name, schema in properties if "string" not in types_of(schema))

    def definition(self, fixed: FixedScope) -> Tool:
        """The definition that a connection lists: fixed ids are not arguments."""
        all_arguments, output_schema = self._schemas
        properties = {k: v for k, v in all_arguments["properties"].items() if k not in fixed.fields}
        required = [name for name in all_arguments["required"] if name not in fixed.fields]
        input_schema = {**all_arguments, "properties": properties, "required": required}
        if not required:
            del input_schema["required"]
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=self.is_read_only,
                destructive_hint=self.is_destructive,
                idempotent_hint=self.is_idempotent or self.is_read_only,
                open_world_hint=False,
            ),
        )


async def store_memory(
    service: MemoryService, arguments: schemas.StoreMemory, _fixed: FixedScope
) -> schemas.StoredOut:
    (memory,) = await service.add([arguments.to_domain()])
    return {"id": str(memory.id), "created_at": time_in_brief(memory.created_at)}


async def search_memories(
    service: MemoryService, arguments: schemas.SearchMemories, _fixed: FixedScope
) -> schemas.MemoriesOut:
    result = await service.search(arguments.to_domain())
    return search_result(result.hits, arguments.max_tokens, arguments.min_similarity)


async def get_memory(
    service: MemoryService, arguments: schemas.GetMemory, fixed: FixedScope
) -> schemas.MemoryOut:
    memory = await service.get(arguments.agent_id, arguments.id)
    fixed.check(memory)
    return in_brief(memory, with_user=fixed.user_id is None)


async def list_memories(
    service: MemoryService, arguments: schemas.ListMemories, _fixed: FixedScope
) -> schemas.PageOut:
    after = None if arguments.cursor is None else decode_cursor(arguments.cursor)
    page = await service.list_page(
        arguments.agent_id,
        arguments.user_id,
        page_size=arguments.limit,
        after=after,
        filters=ListFilters(memory_type=arguments.memory_type),
    )
    with_user = arguments.user_id is None
    return page_result(page.memories, page.next_key, arguments.max_tokens, with_user)


async def update_memory(
    service: MemoryService, arguments: schemas.UpdateMemory, fixed: FixedScope
) -> schemas.MemoryOut:
    patch = arguments.to_domain()
    if patch == type(patch)():
        raise InvalidInput(
            "arguments", "name at least one of content, memory_type, importance, metadata"
        )
    await _check_user(service, arguments, fixed)
    memory = await service.update(arguments.agent_id, arguments.id, patch)
    return in_brief(memory, with_user=fixed.user_id is None)


async def delete_memory(
    service: MemoryService, arguments: schemas.DeleteMemory, fixed: FixedScope
) -> schemas.DeletedOut:
    await _check_user(service, arguments, fixed)
    await service.delete(arguments.agent_id, arguments.id)
    return {"deleted": str(arguments.id)}


async def count_memories(
    service: MemoryService, arguments: schemas.CountMemories, _fixed: FixedScope
) -> schemas.CountOut:
    return {"count": await service.count(arguments.agent_id, arguments.user_id)}


async def _check_user(
    service: MemoryService,
    arguments: schemas.UpdateMemory | schemas.DeleteMemory,
    fixed: FixedScope,
) -> None:
    """Raises MemoryNotFound if the memory belongs to another user than the fixed one. Checking
    before the write is enough, because a memory never changes its user."""
    if fixed.user_id is not None:
        fixed.check(await service.get(arguments.agent_id, arguments.id))


TOOLS: dict[str, MemoryTool] = {
    tool.name: tool
    for tool in (
        MemoryTool(
            store_memory,
            schemas.StoreMemory,
            schemas.StoredOut,
            "Store a memory",
            "Remember something for later conversations: a fact, a preference, a decision, an "
            "event, or how something is done. Store one statement per call, in whole sentences "
            "that make sense on their own. Searches find it by its meaning and by its words.",
        ),
        MemoryTool(
            search_memories,
            schemas.SearchMemories,
            schemas.MemoriesOut,
            "Search memories",
            "Find memories about a user by meaning, words and recency, best first. Call it before "
            "you answer anything that may depend on earlier conversations. An empty result means "
            "that nothing related is stored; a failure is reported as an error.",
            is_read_only=True,
        ),
        MemoryTool(
            get_memory,
            schemas.GetMemory,
            schemas.MemoryOut,
            "Get a memory",
            "Read one whole memory, by its id.",
            is_read_only=True,
        ),
        MemoryTool(
            list_memories,
            schemas.ListMemories,
            schemas.PageOut,
            "List memories",
            "List memories page by page, newest first. To find something, use search_memories.",
            is_read_only=True,
        ),
        MemoryTool(
            update_memory,
            schemas.UpdateMemory,
            schemas.MemoryOut,
            "Change a memory",
            "Correct a memory; only the given fields change. Use it if a stored memory is no "
            "longer true, instead of storing a second memory that contradicts it.",
            is_destructive=True,
            is_idempotent=True,
        ),
        MemoryTool(
            delete_memory,
            schemas.DeleteMemory,
            schemas.DeletedOut,
            "Delete a memory",
            "Delete one memory for good. It cannot be restored.",
            is_destructive=True,
            is_idempotent=True,
        ),
        MemoryTool(
            count_memories,
            schemas.CountMemories,
            schemas.CountOut,
            "Count memories",
            "Count an agent's memories, or only those about one user.",
            is_read_only=True,
        ),
    )
}
