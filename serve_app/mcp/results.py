"""Memories as a model reads them: few fields, and never more than it has room for."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pydantic_core

from deployments.domain.memories import Memory, PageKey
from serve_app.mcp.schemas import FoundOut, ListedOut, MemoryOut
from serve_app.web.cursor import encode_cursor

_BYTES_PER_TOKEN = 4


def as_text(value: Any) -> str:
    """Compact JSON."""
    return pydantic_core.to_json(value).decode()


def tokens(value: Any) -> int:
    """About how many tokens a value takes as text: one for four bytes of UTF-8, which is near what
    tokenisers need for English prose, and not far off for other scripts."""
    return math.ceil(len(pydantic_core.to_json(value)) / _BYTES_PER_TOKEN)


def in_brief(memory: Memory, with_user: bool = False) -> MemoryOut:
    brief: MemoryOut = {
        "id": str(memory.id),
        "content": memory.content,
        "memory_type": memory.memory_type.value,
        "created_at": time_in_brief(memory.created_at),
    }
    if memory.importance != 1:
        brief["importance"] = memory.importance
    if memory.metadata:
        brief["metadata"] = memory.metadata
    if memory.expires_at is not None:
        brief["expires_at"] = time_in_brief(memory.expires_at)
    if with_user:
        brief["user_id"] = memory.user_id
    if memory.score is not None:
        brief["score"] = memory.score
    return brief


def time_in_brief(time: datetime) -> str:
    """Of a time in UTC, as all of a memory's are: to the second."""
    return f"{time.isoformat()[:19]}Z"


def found(hits: Sequence[Memory], max_tokens: int) -> FoundOut:
    """The hits in their order, less those for which there is no room."""
    if not hits:
        return {"memories": [], "left_out": 0, "note": "Nothing is stored that matches."}
    shown, left_out = _fitting([in_brief(hit) for hit in hits], max_tokens)
    answer: FoundOut = {"memories": shown, "left_out": len(left_out)}
    if left_out:
        best, cost = left_out[0]
        answer["note"] = (
            f"{len(left_out)} of {len(hits)} memories did not fit into max_tokens={max_tokens}. "
            f"The best of them takes about {cost}: raise max_tokens, or call get_memory with the "
            f"id {best['id']}."
        )
    return answer


def recent(memories: Sequence[Memory], max_tokens: int, with_user: bool) -> FoundOut:
    """The newest, less those for which there is no room."""
    if not memories:
        return {"memories": [], "left_out": 0, "note": "There are no memories."}
    shown, left_out = _fitting([in_brief(memory, with_user) for memory in memories], max_tokens)
    answer: FoundOut = {"memories": shown, "left_out": len(left_out)}
    if left_out:
        ids = ", ".join(brief["id"] for brief, _ in left_out)
        answer["note"] = f"There was no room for these of the newest: {ids}. Read them one by one."
    return answer


def _fitting(
    briefs: Sequence[MemoryOut], max_tokens: int
) -> tuple[list[MemoryOut], list[tuple[MemoryOut, int]]]:
    """Those for which there is room, and the others with what they would take. A short one is shown
    even where a longer one before it was left out."""
    shown: list[MemoryOut] = []
    left_out: list[tuple[MemoryOut, int]] = []
    room = max_tokens
    for brief in briefs:
        cost = tokens(brief)
        if cost <= room:
            shown.append(brief)
            room -= cost
        else:
            left_out.append((brief, cost))
    return shown, left_out


def listed(
    memories: Sequence[Memory], next_key: PageKey | None, max_tokens: int, with_user: bool
) -> ListedOut:
    """The newest for which there is room. `next_cursor` goes on behind the last that is shown, so
    that none is passed over; one that is too large even alone is named, and gone on behind."""
    if not memories:
        return {"memories": [], "left_out": 0, "note": "There are no (more) memories."}
    shown: list[MemoryOut] = []
    room = max_tokens
    for memory in memories:
        brief = in_brief(memory, with_user)
        room -= tokens(brief)
        if room < 0:
            break
        shown.append(brief)
    answer: ListedOut = {"memories": shown, "left_out": len(memories) - len(shown)}
    if not shown:
        answer["left_out"] = 1
        answer["note"] = (
            f"The memory {brief['id']} alone takes about {tokens(brief)} tokens, more than "
            f"max_tokens={max_tokens}: read it with get_memory."
        )
    gone_through = max(1, len(shown))
    if gone_through < len(memories):
        last = memories[gone_through - 1]
        next_key = PageKey(last.created_at, last.id)
    if next_key is not None:
        answer["next_cursor"] = encode_cursor(next_key)
    return answer
