"""The API's operations, in one table from which the routes and the OpenAPI document are made."""

from deployments.domain.memories import Memory
from deployments.domain.summaries import PassReport
from serve_app.rest.handlers import memories
from serve_app.rest.handlers.exporting import export_memories
from serve_app.rest.handlers.importing import import_memories
from serve_app.rest.handlers.overview import (
    AgentsOut,
    TallyQuery,
    TimelineOut,
    TimelineQuery,
    UsersOut,
    list_agents,
    list_users,
    timeline,
)
from serve_app.rest.operation import Operation
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
from serve_app.rest.schemas.lines import EndLine, ImportedOut, MemoryLine, RefusedLine
from serve_app.rest.schemas.queries import (
    AgentQuery,
    CountQuery,
    ExportQuery,
    HistoryQuery,
    ListQuery,
    ScopeQuery,
    SummariesQuery,
)

MEMORIES = "/v1/memories"
MEMORY = "/v1/memories/{memory_id}"
AGENTS = "/v1/agents"

# Starlette takes the first route that matches, so fixed names come before {memory_id}.
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST", MEMORIES, memories.add, "Store a memory", 201, Memory, body=MemoryIn, is_keyed=True,
        has_etag=True, errors=(409, 429),
    ),
    Operation(
        "POST",
        f"{MEMORIES}/batch",
        memories.add_batch,
        "Store up to 256 memories, all or none; counts as one write for the rate limit",
        201,
        BatchOut,
        body=BatchIn,
        is_keyed=True,
        errors=(409, 429),
    ),
    Operation(
        "POST",
        f"{MEMORIES}/search",
        memories.search,
        "Search a user's memories by meaning, words, recency and importance",
        200,
        SearchOut,
        body=SearchIn,
        errors=(429,),
    ),
    Operation(
        "GET", MEMORIES, memories.list_memories, "List memories, newest first", 200, PageOut,
        query=ListQuery,
    ),
    Operation(
        "DELETE", MEMORIES, memories.forget, "Delete all memories of a user", 200, DeletedOut,
        query=ScopeQuery, is_keyed=True, errors=(409,),
    ),
    Operation(
        "GET", f"{MEMORIES}/count", memories.count, "Count memories", 200, CountOut,
        query=CountQuery,
    ),
    Operation(
        "GET",
        f"{MEMORIES}/export",
        export_memories,
        "Export memories as JSON Lines, newest first, from one moment",
        200,
        None,
        query=ExportQuery,
        lines=(MemoryLine, EndLine),
    ),
    Operation(
        "POST",
        f"{MEMORIES}/import",
        import_memories,
        "Import memories from JSON Lines, with their ids and times; counts as one write for the "
        "rate limit",
        200,
        None,
        body_lines=MemoryLine,
        query=AgentQuery,
        errors=(429,),
        lines=(RefusedLine, ImportedOut),
    ),
    Operation(
        "GET",
        f"{MEMORIES}/timeline",
        timeline,
        "Count the memories of each day by type",
        200,
        TimelineOut,
        query=TimelineQuery,
    ),
    Operation(
        "GET", MEMORY, memories.get, "Get a memory", 200, Memory, query=AgentQuery, has_etag=True,
        errors=(404,),
    ),
    Operation(
        "PATCH",
        MEMORY,
        memories.update,
        "Change a memory",
        200,
        Memory | DeletedMemory,
        body=PatchIn,
        query=AgentQuery,
        is_keyed=True,
        has_etag=True,
        is_conditional=True,
        errors=(404, 409, 412, 429),
    ),
    Operation(
        "GET",
        f"{MEMORY}/history",
        memories.history,
        "List a memory's versions from before each change, newest first",
        200,
        HistoryOut,
        query=HistoryQuery,
        errors=(404,),
    ),
    Operation(
        "GET",
        f"{MEMORY}/sources",
        memories.sources,
        "List the sources of a summary, oldest first",
        200,
        MemoriesOut,
        query=AgentQuery,
        errors=(404,),
    ),
    Operation(
        "POST",
        f"{MEMORY}/restore",
        memories.restore,
        "Undo a summary: restore its sources and delete it",
        200,
        MemoriesOut,
        query=AgentQuery,
        errors=(404, 409),
    ),
    Operation(
        "DELETE",
        MEMORY,
        memories.delete,
        "Delete a memory; a summary is deleted with its sources",
        204,
        None,
        query=AgentQuery,
        is_keyed=True,
        is_conditional=True,
        errors=(404, 409, 412),
    ),
    Operation(
        "POST",
        "/v1/summaries/run",
        memories.summarise,
        "Condense the memories that are due now; call again while is_complete is false",
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
        "List the users that an agent has memories about",
        200,
        UsersOut,
        query=TallyQuery,
    ),
)  # fmt: skip
