"""The API's routes, in one table: what is served and what OpenAPI says are both made of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from deployments.domain.errors import InvalidInput
from deployments.domain.summaries import PassReport
from deployments.domain.types import Memory
from serve_app.cursor import decode_cursor, encode_cursor
from serve_app.rest.exporting import export_memories
from serve_app.rest.importing import import_memories
from serve_app.rest.input import read_body, read_memory_id, read_query, read_write_key
from serve_app.rest.overview import (
    AgentsOut,
    TallyQuery,
    TimelineOut,
    TimelineQuery,
    UsersOut,
    list_agents,
    list_users,
    timeline,
)
from serve_app.rest.schemas import (
    BatchIn,
    BatchOut,
    CountOut,
    CountQuery,
    DeletedOut,
    EndLine,
    ExportQuery,
    HistoryOut,
    HistoryQuery,
    ImportedOut,
    ListQuery,
    MemoriesOut,
    MemoryIn,
    MemoryLine,
    OwnerQuery,
    PageOut,
    PatchIn,
    RefusedLine,
    ScopeQuery,
    SearchIn,
    SearchOut,
    SummariesQuery,
)
from serve_app.service import MemoryService

Handler = Callable[[MemoryService, Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and method, as it is served and as it is documented."""

    method: str
    path: str
    handler: Handler
    summary: str
    status: int
    answer: type | None
    body: type[BaseModel] | None = None
    body_lines: type[BaseModel] | None = None
    """Of a body in JSON Lines, in the place of `body`."""
    query: type[BaseModel] | None = None
    is_keyed: bool = False
    """Whether it takes an Idempotency-Key."""
    errors: tuple[int, ...] = ()
    """Beside those that every operation can answer with."""
    lines: tuple[type, ...] = ()
    """Of an answer in JSON Lines, which the handler makes itself: any of these."""

    def encoder(self) -> Callable[[Any], Response]:
        """From what the handler returns to its answer."""
        if self.lines:
            return lambda response: response
        if self.answer is None:
            return lambda _value: Response(status_code=self.status)
        adapter: TypeAdapter[Any] = TypeAdapter(self.answer)
        return lambda value: Response(
            adapter.dump_json(value), self.status, media_type="application/json"
        )


async def add(service: MemoryService, request: Request) -> Memory:
    body = await read_body(request, MemoryIn)
    key = read_write_key(request, body, {body.agent_id})
    (memory,) = await service.add([body.to_domain()], key)
    return memory


async def add_batch(service: MemoryService, request: Request) -> BatchOut:
    body = await read_body(request, BatchIn)
    key = read_write_key(request, body, {entry.agent_id for entry in body.memories})
    return BatchOut(await service.add([entry.to_domain() for entry in body.memories], key))


async def search(service: MemoryService, request: Request) -> SearchOut:
    body = await read_body(request, SearchIn)
    found = await service.search(body.to_domain())
    return SearchOut(found.hits, body.query, len(found.hits), found.reranked)


async def list_memories(service: MemoryService, request: Request) -> PageOut:
    query = read_query(request, ListQuery)
    after = None if query.cursor is None else decode_cursor(query.cursor)
    page = await service.list_page(
        query.agent_id,
        query.user_id,
        query.memory_type,
        query.limit,
        after,
        query.include_superseded,
        query.filters(),
    )
    next_cursor = None if page.next_key is None else encode_cursor(page.next_key)
    return PageOut(page.memories, next_cursor)


async def count(service: MemoryService, request: Request) -> CountOut:
    query = read_query(request, CountQuery)
    found = await service.count(query.agent_id, query.user_id, query.include_superseded)
    return CountOut(query.agent_id, query.user_id, found)


async def get(service: MemoryService, request: Request) -> Memory:
    memory_id = read_memory_id(request)
    return await service.get(read_query(request, OwnerQuery).agent_id, memory_id)


async def update(service: MemoryService, request: Request) -> Memory:
    memory_id = read_memory_id(request)
    query = read_query(request, OwnerQuery)
    patch = (await read_body(request, PatchIn)).to_domain()
    if patch == type(patch)():
        raise InvalidInput("body", "names nothing to change")
    return await service.update(query.agent_id, memory_id, patch)


async def history(service: MemoryService, request: Request) -> HistoryOut:
    memory_id = read_memory_id(request)
    query = read_query(request, HistoryQuery)
    one_more = query.limit + 1  # tells whether there is a next page
    versions = await service.history(query.agent_id, memory_id, query.before, one_more)
    more = len(versions) > query.limit
    page = versions[: query.limit]
    return HistoryOut(page, page[-1].version if more else None)


async def sources(service: MemoryService, request: Request) -> MemoriesOut:
    memory_id = read_memory_id(request)
    agent_id = read_query(request, OwnerQuery).agent_id
    return MemoriesOut(await service.sources(agent_id, memory_id))


async def restore(service: MemoryService, request: Request) -> MemoriesOut:
    memory_id = read_memory_id(request)
    agent_id = read_query(request, OwnerQuery).agent_id
    return MemoriesOut(await service.restore(agent_id, memory_id))


async def summarise(service: MemoryService, request: Request) -> PassReport:
    query = read_query(request, SummariesQuery)
    return await service.summarise(query.agent_id, query.user_id)


async def delete(service: MemoryService, request: Request) -> None:
    memory_id = read_memory_id(request)
    await service.delete(read_query(request, OwnerQuery).agent_id, memory_id)


async def forget(service: MemoryService, request: Request) -> DeletedOut:
    query = read_query(request, ScopeQuery)
    return DeletedOut(await service.forget(query.agent_id, query.user_id))


MEMORIES = "/v1/memories"
MEMORY = "/v1/memories/{memory_id}"
AGENTS = "/v1/agents"

# Starlette takes the first route that matches: fixed names stand before {memory_id}.
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST", MEMORIES, add, "Store a memory", 201, Memory, body=MemoryIn, is_keyed=True,
        errors=(409, 429),
    ),
    Operation(
        "POST",
        f"{MEMORIES}/batch",
        add_batch,
        "Store up to 256 memories, all or none; one write for the rate limit",
        201,
        BatchOut,
        body=BatchIn,
        is_keyed=True,
        errors=(409, 429),
    ),
    Operation(
        "POST",
        f"{MEMORIES}/search",
        search,
        "Find a user's memories by meaning, words, recency and importance",
        200,
        SearchOut,
        body=SearchIn,
        errors=(429,),
    ),
    Operation(
        "GET", MEMORIES, list_memories, "List memories, newest first", 200, PageOut, query=ListQuery
    ),
    Operation(
        "DELETE", MEMORIES, forget, "Forget all of a user's memories", 200, DeletedOut,
        query=ScopeQuery,
    ),
    Operation(
        "GET", f"{MEMORIES}/count", count, "Count memories", 200, CountOut, query=CountQuery
    ),
    Operation(
        "GET",
        f"{MEMORIES}/export",
        export_memories,
        "Export memories as JSON Lines, newest first, as they are at one moment",
        200,
        None,
        query=ExportQuery,
        lines=(MemoryLine, EndLine),
    ),
    Operation(
        "POST",
        f"{MEMORIES}/import",
        import_memories,
        "Import memories from JSON Lines, with their ids and times; one write for the rate limit",
        200,
        None,
        body_lines=MemoryLine,
        query=OwnerQuery,
        errors=(429,),
        lines=(RefusedLine, ImportedOut),
    ),
    Operation(
        "GET",
        f"{MEMORIES}/timeline",
        timeline,
        "Count the memories of each day by their type",
        200,
        TimelineOut,
        query=TimelineQuery,
    ),
    Operation("GET", MEMORY, get, "Get a memory", 200, Memory, query=OwnerQuery, errors=(404,)),
    Operation(
        "PATCH",
        MEMORY,
        update,
        "Change a memory",
        200,
        Memory,
        body=PatchIn,
        query=OwnerQuery,
        errors=(404, 409, 429),
    ),
    Operation(
        "GET",
        f"{MEMORY}/history",
        history,
        "What a memory said before each change, newest first",
        200,
        HistoryOut,
        query=HistoryQuery,
        errors=(404,),
    ),
    Operation(
        "GET",
        f"{MEMORY}/sources",
        sources,
        "What a summary was made of, oldest first",
        200,
        MemoriesOut,
        query=OwnerQuery,
        errors=(404,),
    ),
    Operation(
        "POST",
        f"{MEMORY}/restore",
        restore,
        "Undo a summary: its sources are back, and it goes",
        200,
        MemoriesOut,
        query=OwnerQuery,
        errors=(404, 409),
    ),
    Operation(
        "DELETE",
        MEMORY,
        delete,
        "Delete a memory, and a summary with its sources",
        204,
        None,
        query=OwnerQuery,
        errors=(404,),
    ),
    Operation(
        "POST",
        "/v1/summaries/run",
        summarise,
        "Condense what is due now; call again while is_complete is false",
        200,
        PassReport,
        query=SummariesQuery,
    ),
    Operation(
        "GET", AGENTS, list_agents, "List the agents that have memories", 200, AgentsOut,
        query=TallyQuery, errors=(403,),
    ),
    Operation(
        "GET",
        f"{AGENTS}/{{agent_id}}/users",
        list_users,
        "List the users of whom an agent has memories",
        200,
        UsersOut,
        query=TallyQuery,
    ),
)  # fmt: skip
