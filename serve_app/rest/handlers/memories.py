"""Handlers for memories and summaries: read the request, call the service, build the answer."""

from starlette.requests import Request
from starlette.responses import Response

from deployments.domain.errors import DeletedSince, InvalidInput
from deployments.domain.memories import Memory
from deployments.domain.summaries import PassReport
from serve_app.rest.conditions import IF_MATCH, etag, read_precondition, reply_unless_known
from serve_app.rest.input import (
    KEY_HEADER,
    check_expiries,
    read_body,
    read_memory_id,
    read_query,
    read_write_key,
)
from serve_app.rest.operation import Reply
from serve_app.rest.rate_limits import rate_limit_headers
from serve_app.rest.schemas.answers import (
    BatchOut,
    CountOut,
    DeletedMemory,
    DeletedOut,
    HistoryOut,
    MemoriesOut,
    PageOut,
    SearchOut,
)
from serve_app.rest.schemas.bodies import BatchIn, MemoryIn, PatchIn, SearchIn
from serve_app.rest.schemas.queries import (
    AgentQuery,
    CountQuery,
    HistoryQuery,
    ListQuery,
    ScopeQuery,
    SummariesQuery,
)
from serve_app.services.memories import MemoryService
from serve_app.web.cursor import decode_cursor, encode_cursor


async def add(service: MemoryService, request: Request) -> Reply[Memory]:
    body = await read_body(request, MemoryIn)
    key = read_write_key(request, lambda: body.model_dump(mode="json"))
    new = [body.to_domain()]
    stored = None if key is None else await service.keyed.first_add(new, key)
    if stored is None:
        check_expiries([((), body.expires_at)])
        stored = await (service.add(new) if key is None else service.keyed.add(new, key))
    headers = rate_limit_headers(service.quota("write", body.agent_id))
    return Reply(stored[0], {**etag(stored[0]), **headers})


async def add_batch(service: MemoryService, request: Request) -> Reply[BatchOut]:
    body = await read_body(request, BatchIn)
    key = read_write_key(request, lambda: body.model_dump(mode="json"))
    agent_ids = {entry.agent_id for entry in body.memories}
    if key is not None and len(agent_ids) > 1:
        raise InvalidInput(KEY_HEADER, "can be used only if all memories belong to one agent")
    new = [entry.to_domain() for entry in body.memories]
    stored = None if key is None else await service.keyed.first_add(new, key)
    if stored is None:
        entries = enumerate(body.memories)
        check_expiries([(("memories", index), entry.expires_at) for index, entry in entries])
        stored = await (service.add(new) if key is None else service.keyed.add(new, key))
    return Reply(BatchOut(stored), rate_limit_headers(service.quota("write", *agent_ids)))


async def search(service: MemoryService, request: Request) -> Reply[SearchOut]:
    body = await read_body(request, SearchIn)
    result = await service.search(body.to_domain())
    answer = SearchOut(result.hits, body.query, len(result.hits), result.reranked)
    return Reply(answer, rate_limit_headers(service.quota("search", body.agent_id)))


async def list_memories(service: MemoryService, request: Request) -> PageOut:
    query = read_query(request, ListQuery)
    after = None if query.cursor is None else decode_cursor(query.cursor)
    page = await service.list_page(
        query.agent_id,
        query.user_id,
        page_size=query.limit,
        after=after,
        filters=query.filters(),
    )
    next_cursor = None if page.next_key is None else encode_cursor(page.next_key)
    return PageOut(page.memories, next_cursor)


async def count(service: MemoryService, request: Request) -> CountOut:
    query = read_query(request, CountQuery)
    memories = await service.count(query.agent_id, query.user_id, query.include_superseded)
    return CountOut(query.agent_id, query.user_id, memories)


async def get(service: MemoryService, request: Request) -> Reply[Memory] | Response:
    memory_id = read_memory_id(request)
    memory = await service.get(read_query(request, AgentQuery).agent_id, memory_id)
    return reply_unless_known(request, memory)


async def update(service: MemoryService, request: Request) -> Reply[Memory] | DeletedMemory:
    memory_id = read_memory_id(request)
    agent_id = read_query(request, AgentQuery).agent_id
    body = await read_body(request, PatchIn)
    patch = body.to_domain()
    if patch == type(patch)():
        raise InvalidInput("body", "names no field to change")
    condition = read_precondition(request)
    key = read_write_key(
        request,
        lambda: [
            "PATCH",
            body.model_dump(mode="json", exclude_unset=True),
            request.headers.getlist(IF_MATCH),
        ],
    )
    try:
        memory = None if key is None else await service.keyed.first_update(agent_id, key)
        if memory is None:
            check_expiries([((), body.expires_at)])
            change = agent_id, memory_id, patch, condition
            memory = await (
                service.update(*change) if key is None else service.keyed.update(*change, key)
            )
    except DeletedSince:
        return DeletedMemory(memory_id)
    headers = rate_limit_headers(service.quota("write", agent_id))
    return Reply(memory, {**etag(memory), **headers})


async def history(service: MemoryService, request: Request) -> HistoryOut:
    memory_id = read_memory_id(request)
    query = read_query(request, HistoryQuery)
    one_more = query.limit + 1  # shows whether there is a next page
    versions = await service.history(query.agent_id, memory_id, query.before, one_more)
    has_more = len(versions) > query.limit
    page = versions[: query.limit]
    return HistoryOut(page, page[-1].version if has_more else None)


async def sources(service: MemoryService, request: Request) -> MemoriesOut:
    memory_id = read_memory_id(request)
    agent_id = read_query(request, AgentQuery).agent_id
    return MemoriesOut(await service.sources(agent_id, memory_id))


async def restore(service: MemoryService, request: Request) -> MemoriesOut:
    memory_id = read_memory_id(request)
    agent_id = read_query(request, AgentQuery).agent_id
    return MemoriesOut(await service.restore(agent_id, memory_id))


async def summarise(service: MemoryService, request: Request) -> PassReport:
    query = read_query(request, SummariesQuery)
    return await service.summarise(query.agent_id, query.user_id)


async def delete(service: MemoryService, request: Request) -> None:
    memory_id = read_memory_id(request)
    agent_id = read_query(request, AgentQuery).agent_id
    condition = read_precondition(request)
    key = read_write_key(request, lambda: ["DELETE", request.headers.getlist(IF_MATCH)])
    if key is None:
        await service.delete(agent_id, memory_id, condition)
    else:
        await service.keyed.delete(agent_id, memory_id, condition, key)


async def forget(service: MemoryService, request: Request) -> DeletedOut:
    query = read_query(request, ScopeQuery)
    key = read_write_key(request, lambda: ["DELETE", query.user_id])
    if key is None:
        return DeletedOut(await service.forget(query.agent_id, query.user_id))
    return DeletedOut(await service.keyed.forget(query.agent_id, query.user_id, key))
