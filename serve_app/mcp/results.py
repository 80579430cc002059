"""Tool results for a model: few fields for each memory, and no more than `max_tokens` in all."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pydantic_core

from deployments.domain.memories import Memory, PageKey
from serve_app.mcp.schemas import MemoriesOut, MemoryOut, PageOut
from serve_app.web.cursor import encode_cursor

_BYTES_PER_TOKEN = 4
_NOTHING = "Nothing is stored that matches."
_NOTHING_RELATED = (
    "Nothing related to this is stored. Memories that are less related than min_similarity={} are "
    "left out: to see the nearest of them, search again with min_similarity 0; for the newest, "
    "call list_memories."
)


def as_text(value: Any) -> str:
    """Compact JSON."""
    return pydantic_core.to_json(value).decode()


def token_count(value: Any) -> int:
    """The approximate number of tokens of a value as JSON: one for four bytes of UTF-8. That is
    near what tokenisers need for English prose, and not far off for other scripts."""
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
    """A UTC time, to the second. All times of a memory are in UTC."""
    return f"{time.isoformat()[:19]}Z"


def search_result(
    hits: Sequence[Memory], max_tokens: int, min_similarity: float = 0.0
) -> MemoriesOut:
    """The hits that fit into `max_tokens`, in their order. `min_similarity` is that of the
    search."""
    if not hits:
        note = _NOTHING_RELATED.format(min_similarity) if min_similarity else _NOTHING
        return {"memories": [], "left_out": 0, "note": note}
    shown, left_out = _split([in_brief(hit) for hit in hits], max_tokens)
    answer: MemoriesOut = {"memories": shown, "left_out": len(left_out)}
    if left_out:
        best, cost = left_out[0]
        answer["note"] = (
            f"{len(left_out)} of {len(hits)} memories did not fit into max_tokens={max_tokens}. "
            f"The best of them takes about {cost} tokens: raise max_tokens, or call get_memory "
            f"with the id {best['id']}."
        )
    return answer


def recent_result(memories: Sequence[Memory], max_tokens: int, with_user: bool) -> MemoriesOut:
    """The newest memories that fit into `max_tokens`."""
    if not memories:
        return {"memories": [], "left_out": 0, "note": "There are no memories."}
    shown, left_out = _split([in_brief(memory, with_user) for memory in memories], max_tokens)
    answer: MemoriesOut = {"memories": shown, "left_out": len(left_out)}
    if left_out:
        ids = ", ".join(brief["id"] for brief, _ in left_out)
        answer["note"] = f"These memories did not fit: {ids}. Read them one by one."
    return answer


def _split(
    briefs: Sequence[MemoryOut], max_tokens: int
) -> tuple[list[MemoryOut], list[tuple[MemoryOut, int]]]:
    """The memories that fit into `max_tokens`, and the others, each with its tokens. A short memory
    is kept even if a longer one before it is left out."""
    shown: list[MemoryOut] = []
    left_out: list[tuple[MemoryOut, int]] = []
    room = max_tokens
    for brief in briefs:
        cost = token_count(brief)
        if cost <= room:
            shown.append(brief)
            room -= cost
        else:
            left_out.append((brief, cost))
    return shown, left_out


def page_result(
    memories: Sequence[Memory], next_key: PageKey | None, max_tokens: int, with_user: bool
) -> PageOut:
    """The first memories of a page, as many as fit into `max_tokens`. `next_cursor` continues after
    the last one shown, so that none is skipped. If not even the first one fits, `note` names it and
    `next_cursor` continues after it."""
    if not memories:
        return {"memories": [], "left_out": 0, "note": "There are no (more) memories."}
    shown: list[MemoryOut] = []
    room = max_tokens
    for memory in memories:
        brief = in_brief(memory, with_user)
        room -= token_count(brief)
        if room < 0:
            break
        shown.append(brief)
    answer: PageOut = {"memories": shown, "left_out": len(memories) - len(shown)}
    if not shown:
        answer["left_out"] = 1
        answer["note"] = (
            f"The memory {brief['id']} alone takes about {token_count(brief)} tokens, more than "
            f"max_tokens={max_tokens}: read it with get_memory."
        )
    passed = max(1, len(shown))
    if passed < len(memories):
        last = memories[passed - 1]
        next_key = PageKey(last.created_at, last.id)
    if next_key is not None:
        answer["next_cursor"] = encode_cursor(next_key)
    return answer
