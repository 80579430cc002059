"""Errors as a model reads them: what was wrong, and what to send instead."""

from pydantic import ValidationError

from deployments.domain.errors import InvalidInput, MemexError, MemoryNotFound, RateLimited

_LISTED = 5
FAULT = (
    "The memory service failed; the fault has been logged. This is a failure, not an empty memory: "
    "try once more, and if it fails again, go on and say that memories could not be reached."
)


def explained(tool: str, error: MemexError | ValidationError) -> str:
    """What a tool answers where it could not do what it was asked."""
    if isinstance(error, ValidationError):
        return f"{_wrong(error)}. Correct this and call {tool} again."
    if isinstance(error, InvalidInput):
        return f"{error}. Correct this and call {tool} again."
    if isinstance(error, MemoryNotFound):
        return f"{error}. Take an id from search_memories or list_memories."
    if isinstance(error, RateLimited):
        return f"{error}. Wait until then, and call {tool} again; nothing was changed."
    return (
        f"{error}. This is a failure, not an empty memory: "
        f"wait a few seconds and call {tool} again."
    )


def _wrong(error: ValidationError) -> str:
    entries = error.errors(include_url=False, include_input=False, include_context=False)
    said = []
    for entry in entries[:_LISTED]:
        name = ".".join(str(part) for part in entry["loc"]) or "arguments"
        said.append(f"{name}: {_reason(entry['type'], entry['msg'])}")
    more = f"; and {len(entries) - _LISTED} more" if len(entries) > _LISTED else ""
    return "; ".join(said) + more


def _reason(kind: str, message: str) -> str:
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is no argument of this tool; leave it out"
    return message.removeprefix("Value error, ")
