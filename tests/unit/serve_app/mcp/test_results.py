from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deployments.domain.memories import Memory, MemoryType, PageKey
from deployments.runtime.ids import uuid7
from serve_app.mcp.results import in_brief, page_result, recent_result, search_result, token_count
from serve_app.web.cursor import decode_cursor

NOW = datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC)


def memory(content: str, age_s: int = 0, score: float | None = 0.5) -> Memory:
    time = NOW - timedelta(seconds=age_s)
    kind = MemoryType.EPISODIC
    return Memory(uuid7(), "a", "u", content, 1.0, kind, {}, time, time, None, score=score)


def test_brief_form_omits_defaults() -> None:
    plain = memory("c", score=None)
    assert in_brief(plain) == {
        "id": str(plain.id),
        "content": "c",
        "memory_type": "episodic",
        "created_at": "2026-01-31T12:00:00Z",
    }
    rich = replace(plain, importance=0.5, metadata={"k": None}, expires_at=NOW, score=0.25)
    assert (
        in_brief(rich, with_user=True).items()
        >= {
            "importance": 0.5,
            "metadata": {"k": None},
            "expires_at": "2026-01-31T12:00:00Z",
            "user_id": "u",
            "score": 0.25,
        }.items()
    )


def test_memories_beyond_max_tokens_are_left_out_whole() -> None:
    hits = [memory("long " * 400), memory("short"), memory("long " * 300), memory("brief")]
    max_tokens = sum(token_count(in_brief(hits[n])) for n in (1, 3))
    answer = search_result(hits, max_tokens)
    assert [hit["content"] for hit in answer["memories"]] == ["short", "brief"]
    assert answer["left_out"] == 2
    assert f"2 of 4 memories did not fit into max_tokens={max_tokens}" in answer["note"]
    assert f"about {token_count(in_brief(hits[0]))}" in answer["note"]
    assert str(hits[0].id) in answer["note"]
    whole = search_result(hits, 10_000)
    assert (len(whole["memories"]), whole["left_out"]) == (4, 0)
    assert "note" not in whole


def test_best_hits_are_kept_within_max_tokens() -> None:
    hits = [memory(f"{n} " + "word " * 50) for n in range(10)]
    answer = search_result(hits, 3 * token_count(in_brief(hits[0])))
    assert [hit["content"][0] for hit in answer["memories"]] == ["0", "1", "2"]
    assert answer["left_out"] == 7


def test_empty_result_has_a_note() -> None:
    assert search_result([], 2_000)["note"] == "Nothing is stored that matches."
    note = search_result([], 2_000, min_similarity=0.3)["note"]
    assert note.startswith("Nothing related to this is stored.")
    assert "min_similarity=0.3 are left out" in note


def test_next_page_starts_after_the_last_shown_memory() -> None:
    page = [memory(f"{n} " + "word " * 50, age_s=n, score=None) for n in range(4)]
    next_key = PageKey(page[3].created_at, page[3].id)
    whole = page_result(page, next_key, 10_000, with_user=False)
    assert decode_cursor(whole["next_cursor"]) == next_key
    cut = page_result(page, None, 2 * token_count(in_brief(page[0])), with_user=False)
    assert (len(cut["memories"]), cut["left_out"]) == (2, 2)
    assert decode_cursor(cut["next_cursor"]) == PageKey(page[1].created_at, page[1].id)
    last = page_result(page, None, 10_000, with_user=False)
    assert "next_cursor" not in last


def test_oversized_memory_is_named_and_skipped() -> None:
    page = [memory("long " * 400, age_s=n, score=None) for n in range(2)]
    answer = page_result(page, None, 50, with_user=False)
    assert (answer["memories"], answer["left_out"]) == ([], 1)
    assert decode_cursor(answer["next_cursor"]) == PageKey(page[0].created_at, page[0].id)
    assert str(page[0].id) in answer["note"]
    last = page_result(page[1:], None, 50, with_user=False)
    assert str(page[1].id) in last["note"]
    assert "next_cursor" not in last


def test_recent_memories_are_shown_without_an_oversized_one() -> None:
    memories = [memory("long " * 400, score=None), memory("short", score=None)]
    answer = recent_result(memories, 100, with_user=False)
    assert [entry["content"] for entry in answer["memories"]] == ["short"]
    assert answer["left_out"] == 1
    assert str(memories[0].id) in answer["note"]


def test_tokens_are_estimated_for_all_scripts() -> None:
    assert token_count("a" * 4_000) == 1_001
    assert token_count("漢" * 1_000) == 751
