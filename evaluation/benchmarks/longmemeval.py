"""Reads LongMemEval's entries: a question with its own haystack of sessions. Pure."""

import re
from datetime import datetime, timedelta
from typing import Any

from evaluation.benchmarks.dataset import Question, Scope
from evaluation.benchmarks.haystack import Haystack
from evaluation.benchmarks.node import Node

NAME = "LongMemEval"
_WEEKDAY = re.compile(r"\s*\([^)]*\)\s*")


def is_entry(entry: Node) -> bool:
    """Whether the entry is one of LongMemEval's."""
    return isinstance(entry.value, dict) and "haystack_sessions" in entry.value


def read_entry(entry: Node) -> Scope:
    """The entry's scope, with its one question."""
    entry = entry.named("question_id")
    question_id = entry.text("question_id")
    dated = entry.child("question_date").time(_parse_date)
    haystack, marked = _read_sessions(entry)
    # Some questions are dated before their own evidence, which a search must be able to find.
    asked_at = max([dated, *(memory.created_at for memory in haystack.memories)])

    evidence = dict.fromkeys(entry.texts("answer_session_ids"))
    sessions = tuple(session for session in evidence if session in haystack.starts)
    question = Question(
        id=question_id,
        text=entry.text("question"),
        type=entry.text("question_type"),
        asked_at=asked_at,
        abstention=question_id.endswith("_abs"),
        sessions=sessions,
        turns=tuple(turn for turn in marked if turn in haystack.turns),
        late_sessions=sum(haystack.starts[session] > dated for session in sessions),
    )
    return Scope(
        question_id,
        tuple(haystack.memories),
        (question,),
        haystack.empty_turns,
        haystack.split_turns,
    )


def _read_sessions(entry: Node) -> tuple[Haystack, list[str]]:
    """The memories, and the ids of the turns that are marked as evidence."""
    ids = entry.texts("haystack_session_ids")
    dates = entry.children("haystack_dates")
    sessions = entry.children("haystack_sessions")
    if not len(ids) == len(dates) == len(sessions):
        raise entry.fail(
            f"has {len(ids)} haystack_session_ids, {len(dates)} haystack_dates and "
            f"{len(sessions)} haystack_sessions; they must be equally many"
        )
    haystack = Haystack()
    marked: dict[str, None] = {}
    versions: dict[str, list[Any]] = {}
    for session_id, date, session in zip(ids, dates, sessions, strict=True):
        # Some ids occur twice. If the turns are identical, it is one session at two times, and
        # finding either copy counts; otherwise the later session's turns need ids of their own.
        known = versions.setdefault(session_id, [])
        if session.value not in known:
            known.append(session.value)
        version = known.index(session.value) + 1
        prefix = session_id if version == 1 else f"{session_id}@{version}"
        start = date.time(_parse_date)
        for number, turn in enumerate(session.elements(), start=1):
            turn_id = f"{prefix}:{number}"
            created_at = start + timedelta(seconds=number - 1)
            speaker = {"role": turn.text("role")}
            haystack.add(session_id, turn_id, created_at, turn.text("content"), speaker)
            if turn.fields().get("has_answer") is True:
                marked[turn_id] = None
    return haystack, list(marked)


def _parse_date(text: str) -> datetime:
    """`2023/06/23 (Fri) 07:31`"""
    return datetime.strptime(_WEEKDAY.sub(" ", text), "%Y/%m/%d %H:%M")  # noqa: DTZ007 - Node adds UTC
