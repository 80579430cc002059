"""The tools, in one table: what is called and what is listed are both made of it."""

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
from serve_app.mcp.results import found, in_brief, listed, time_in_brief
from serve_app.mcp.scope import FixedScope
from serve_app.services.memories import MemoryService
from serve_app.web.cursor import decode_cursor

Handler = Callable[[MemoryService, Any, FixedScope], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class MemoryTool:
    """One tool, as it is called and as it is listed."""

    handler: Handler
    arguments: type[schemas.Arguments]
    result: Any
    title: str
    description: str
    reads_only: bool = False
    destroys: bool = False
    is_idempotent: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__

    async def call(
        self, service: MemoryService, arguments: Mapping[str, Any], scope: FixedScope
    ) -> Mapping[str, Any]:
        """Raises MemexError, ValidationError."""
        return await self.handler(service, self.read(arguments, scope), scope)

    def read(self, arguments: Mapping[str, Any], scope: FixedScope) -> schemas.Arguments:
        """Raises InvalidInput, ValidationError."""
        filled = scope.filled_in(arguments, list(self.arguments.model_fields))
        try:
            raw = pydantic_core.to_json(filled, inf_nan_mode="constants")
        except ValueError:
            raise InvalidInput("arguments", "cannot be written as JSON in UTF-8") from None
        return self.arguments.model_validate_json(raw)  # JSON's rules for what is strict

    @functools.cached_property
    def _schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        output = TypeAdapter(self.result).json_schema(mode="serialization")
        return schemas.inlined(self.arguments.model_json_schema()), schemas.inlined(output)

    def definition(self, scope: FixedScope) -> Tool:
        """As a connection with that scope sees it: what is fixed is no argument."""
        taken, given = self._schemas
        properties = {k: v for k, v in taken["properties"].items() if k not in scope.fields}
        required = [name for name in taken["required"] if name not in scope.fields]
        schema = {**taken, "properties": properties, "required": required}
        if not required:
            del schema["required"]
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=schema,
            output_schema=given,
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=self.reads_only,
                destructive_hint=self.destroys,
                idempotent_hint=self.is_idempotent or self.reads_only,
                open_world_hint=False,
            ),
        )


async def store_memory(
    service: MemoryService, arguments: schemas.StoreMemory, _scope: FixedScope
) -> schemas.StoredOut:
    (memory,) = await service.add([arguments.to_domain()])
    return {"id": str(memory.id), "created_at": time_in_brief(memory.created_at)}


async def search_memories(
    service: MemoryService, arguments: schemas.SearchMemories, _scope: FixedScope
) -> schemas.FoundOut:
    result = await service.search(arguments.to_domain())
    return found(result.hits, arguments.max_tokens)


async def get_memory(
    service: MemoryService, arguments: schemas.GetMemory, scope: FixedScope
) -> schemas.MemoryOut:
    memory = await service.get(arguments.agent_id, arguments.id)
    scope.check(memory)
    return in_brief(memory, with_user=scope.user_id is None)


async def list_memories(
    service: MemoryService, arguments: schemas.ListMemories, _scope: FixedScope
) -> schemas.ListedOut:
    after = None if arguments.cursor is None else decode_cursor(arguments.cursor)
    page = await service.list_page(
        arguments.agent_id,
        arguments.user_id,
        page_size=arguments.limit,
        after=after,
        filters=ListFilters(memory_type=arguments.memory_type),
    )
    with_user = arguments.user_id is None
    return listed(page.memories, page.next_key, arguments.max_tokens, with_user)


async def update_memory(
    service: MemoryService, arguments: schemas.UpdateMemory, scope: FixedScope
) -> schemas.MemoryOut:
    patch = arguments.to_domain()
    if patch == type(patch)():
        raise InvalidInput(
            "arguments", "name at least one of content, memory_type, importance, metadata"
        )
    await _check_user(service, arguments, scope)
    memory = await service.update(arguments.agent_id, arguments.id, patch)
    return in_brief(memory, with_user=scope.user_id is None)


async def delete_memory(
    service: MemoryService, arguments: schemas.DeleteMemory, scope: FixedScope
) -> schemas.DeletedOut:
    await _check_user(service, arguments, scope)
    await service.delete(arguments.agent_id, arguments.id)
    return {"deleted": str(arguments.id)}


async def count_memories(
    service: MemoryService, arguments: schemas.CountMemories, _scope: FixedScope
) -> schemas.CountedOut:
    return {"count": await service.count(arguments.agent_id, arguments.user_id)}


async def _check_user(
    service: MemoryService,
    arguments: schemas.UpdateMemory | schemas.DeleteMemory,
    scope: FixedScope,
) -> None:
    """A memory never changes its user, so it is enough to look before."""
    if scope.user_id is not None:
        scope.check(await service.get(arguments.agent_id, arguments.id))


TOOLS: dict[str, MemoryTool] = {
    tool.name: tool
    for tool in (
        MemoryTool(
            store_memory,
            schemas.StoreMemory,
            schemas.StoredOut,
            "Store a memory",
            "Remember something for later conversations: a fact, a preference, a decision, an "
            "event, or how something is done. Store one statement a call, whole sentences that "
            "make sense on their own. It is found again by meaning and by its words.",
        ),
        MemoryTool(
            search_memories,
            schemas.SearchMemories,
            schemas.FoundOut,
            "Search memories",
            "Recall what was stored for a user, best first, by meaning, words and recency. Call it "
            "before answering whatever may depend on earlier conversations. No memories in the "
            "answer means that nothing is stored that matches; a failure is reported as an error.",
            reads_only=True,
        ),
        MemoryTool(
            get_memory,
            schemas.GetMemory,
            schemas.MemoryOut,
            "Get a memory",
            "Read one memory as a whole, by its id.",
            reads_only=True,
        ),
        MemoryTool(
            list_memories,
            schemas.ListMemories,
            schemas.ListedOut,
            "List memories",
            "Go through memories, newest first. To find something, search_memories is better.",
            reads_only=True,
        ),
        MemoryTool(
            update_memory,
            schemas.UpdateMemory,
            schemas.MemoryOut,
            "Change a memory",
            "Correct a memory: only the fields that are given change. Use it where something "
            "stored is no longer true, instead of storing the opposite beside it.",
            destroys=True,
            is_idempotent=True,
        ),
        MemoryTool(
            delete_memory,
            schemas.DeleteMemory,
            schemas.DeletedOut,
            "Delete a memory",
            "Forget one memory for good. It cannot be brought back.",
            destroys=True,
            is_idempotent=True,
        ),
        MemoryTool(
            count_memories,
            schemas.CountMemories,
            schemas.CountedOut,
            "Count memories",
            "How many memories are stored.",
            reads_only=True,
        ),
    )
}
