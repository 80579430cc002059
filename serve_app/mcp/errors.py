"""Error messages for a model: what is wrong, and what to do about it."""

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from deployments.domain.errors import (
    InvalidInput,
    MemexError,
    MemoryNotFound,
    RateLimited,
    Superseded,
)
from serve_app.web.input_model import reason

_MAX_LISTED_ERRORS = 5
_MAX_NAME_CHARS = 80
FAULT = (
    "The memory service failed; the error has been logged. This is a failure, not an empty memory: "
    "try once more. If it fails again, continue without memories and tell the user that memory is "
    "not available."
)


def error_result(text: str) -> CallToolResult:
    """A tool's result that reports an error."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def shortened(name: str) -> str:
    """A name from a caller, short enough to repeat in an error message."""
    return name[:_MAX_NAME_CHARS]


def explanation(tool: str, error: MemexError | ValidationError) -> str:
    """What went wrong in a call of `tool`, and what to do next."""
    if isinstance(error, ValidationError):
        return f"{_broken_rules(error)}. Correct this and call {tool} again."
    if isinstance(error, InvalidInput):
        return f"{error}. Correct this and call {tool} again."
    if isinstance(error, MemoryNotFound):
        return f"{error}. Take an id from search_memories or list_memories."
    if isinstance(error, Superseded):
        return (
            f"memory {error.memory_id} was condensed into the summary {error.summary_id}: "
            "change the summary instead."
        )
    if isinstance(error, RateLimited):
        return f"{error.for_caller}. Wait until then and call {tool} again; nothing was changed."
    if tool == "store_memory":
        return (
            f"{error}. It may or may not have been stored: "
            "search for it in a few seconds before you store it again."
        )
    return (
        f"{error}. This is a failure, not an empty memory: "
        f"wait a few seconds and call {tool} again."
    )


def _broken_rules(error: ValidationError) -> str:
    entries = error.errors(include_url=False, include_input=False)
    rules = []
    for entry in entries[:_MAX_LISTED_ERRORS]:
        name = shortened(".".join(str(part) for part in entry["loc"])) or "arguments"
        rules.append(f"{name}: {'is missing' if entry['type'] == 'missing' else reason(entry)}")
    unlisted = len(entries) - _MAX_LISTED_ERRORS
    return "; ".join(rules) + (f"; and {unlisted} more" if unlisted > 0 else "")
