from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deployments.domain.memories import Memory, MemoryType, PageKey
from deployments.runtime.ids import uuid7
from serve_app.mcp.results import found, in_brief, listed, recent, tokens
from serve_app.web.cursor import decode_cursor

NOW = datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC)


def memory(content: str, age_s: int = 0, score: float | None = 0.5) -> Memory:
    time = NOW - timedelta(seconds=age_s)
    kind = MemoryType.EPISODIC
    return Memory(uuid7(), "a", "u", content, 1.0, kind, {}, time, time, None, score=score)


def test_in_brief() -> None:
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


def test_whole_memories_are_left_out() -> None:
    hits = [memory("long " * 400), memory("short"), memory("long " * 300), memory("brief")]
    room = sum(tokens(in_brief(hits[n])) for n in (1, 3))
    answer = found(hits, room)
    assert [hit["content"] for hit in answer["memories"]] == ["short", "brief"]
    assert answer["left_out"] == 2
    assert f"2 of 4 memories did not fit into max_tokens={room}" in answer["note"]
    assert f"about {tokens(in_brief(hits[0]))}" in answer["note"]
    assert str(hits[0].id) in answer["note"]
    whole = found(hits, 10_000)
    assert (len(whole["memories"]), whole["left_out"]) == (4, 0)
    assert "note" not in whole


def test_the_best_come_first_into_the_room() -> None:
    hits = [memory(f"{n} " + "word " * 50) for n in range(10)]
    answer = found(hits, 3 * tokens(in_brief(hits[0])))
    assert [hit["content"][0] for hit in answer["memories"]] == ["0", "1", "2"]
    assert answer["left_out"] == 7


def test_nothing_found_is_said() -> None:
    assert found([], 2_000)["note"] == "Nothing is stored that matches."


def test_a_page_goes_on_behind_what_was_shown() -> None:
    page = [memory(f"{n} " + "word " * 50, age_s=n, score=None) for n in range(4)]
    behind = PageKey(page[3].created_at, page[3].id)
    whole = listed(page, behind, 10_000, with_user=False)
    assert decode_cursor(whole["next_cursor"]) == behind
    cut = listed(page, None, 2 * tokens(in_brief(page[0])), with_user=False)
    assert (len(cut["memories"]), cut["left_out"]) == (2, 2)
    assert decode_cursor(cut["next_cursor"]) == PageKey(page[1].created_at, page[1].id)
    last = listed(page, None, 10_000, with_user=False)
    assert "next_cursor" not in last


def test_a_memory_without_room_is_named_and_gone_on_behind() -> None:
    page = [memory("long " * 400, age_s=n, score=None) for n in range(2)]
    answer = listed(page, None, 50, with_user=False)
    assert (answer["memories"], answer["left_out"]) == ([], 1)
    assert decode_cursor(answer["next_cursor"]) == PageKey(page[0].created_at, page[0].id)
    assert str(page[0].id) in answer["note"]
    last = listed(page[1:], None, 50, with_user=False)
    assert str(page[1].id) in last["note"]
    assert "next_cursor" not in last


def test_the_newest_are_shown_beside_a_large_one() -> None:
    memories = [memory("long " * 400, score=None), memory("short", score=None)]
    answer = recent(memories, 100, with_user=False)
    assert [entry["content"] for entry in answer["memories"]] == ["short"]
    assert answer["left_out"] == 1
    assert str(memories[0].id) in answer["note"]


def test_tokens_are_of_all_scripts() -> None:
    assert tokens("a" * 4_000) == 1_001
    assert tokens("漢" * 1_000) == 751
