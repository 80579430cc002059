"""Errors as a model reads them: what was wrong, and what to send instead."""

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from deployments.domain.errors import (
    InvalidInput,
    MemexError,
    MemoryNotFound,
    RateLimited,
    Superseded,
)

_LISTED = 5
_SHOWN_CHARS = 80
FAULT = (
    "The memory service failed; the fault has been logged. This is a failure, not an empty memory: "
    "try once more, and if it fails again, go on and say that memories could not be reached."
)


def failed(text: str) -> CallToolResult:
    """A tool's answer where there is none."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def cut(name: str) -> str:
    """What a caller called something, as it is said back."""
    return name[:_SHOWN_CHARS]


def explained(tool: str, error: MemexError | ValidationError) -> str:
    """What a tool answers where it could not do what it was asked."""
    if isinstance(error, ValidationError):
        return f"{_wrong(error)}. Correct this and call {tool} again."
    if isinstance(error, InvalidInput):
        return f"{error}. Correct this and call {tool} again."
    if isinstance(error, MemoryNotFound):
        return f"{error}. Take an id from search_memories or list_memories."
    if isinstance(error, Superseded):
        return f"memory {error.memory_id} is part of summary {error.summary_id}: change that one."
    if isinstance(error, RateLimited):
        return f"{error}. Wait until then, and call {tool} again; nothing was changed."
    if tool == "store_memory":
        return (
            f"{error}. It may or may not have been stored: "
            "search for it in a few seconds, before you store it again."
        )
    return (
        f"{error}. This is a failure, not an empty memory: "
        f"wait a few seconds and call {tool} again."
    )


def _wrong(error: ValidationError) -> str:
    entries = error.errors(include_url=False, include_input=False, include_context=False)
    said = []
    for entry in entries[:_LISTED]:
        name = cut(".".join(str(part) for part in entry["loc"])) or "arguments"
        said.append(f"{name}: {_reason(entry['type'], entry['msg'])}")
    more = f"; and {len(entries) - _LISTED} more" if len(entries) > _LISTED else ""
    return "; ".join(said) + more


def _reason(kind: str, message: str) -> str:
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not known here; leave it out"
    return message.removeprefix("Value error, ")
