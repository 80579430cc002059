"""Reads LoCoMo's samples: one long conversation, and questions about it. Pure."""

import re
from datetime import datetime, timedelta

from evaluation.benchmarks.dataset import Question, Scope
from evaluation.benchmarks.haystack import Haystack
from evaluation.benchmarks.node import Node

NAME = "LoCoMo"
_CATEGORIES = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
_ADVERSARIAL = 5
_SESSION = re.compile(r"session_(\d+)")
# The published forms: "D1:3", but also "D8:6; D9:17", "D4:36 D4:37", "D30:05", "D:11:26" and "D".
_TURN = re.compile(r"D:?(\d+):(\d+)", re.IGNORECASE)
_DATE_FORMAT = "%I:%M %p on %d %B, %Y"  # 1:56 pm on 8 May, 2023


def is_sample(entry: Node) -> bool:
    """Whether the entry is one of LoCoMo's samples."""
    return isinstance(entry.value, dict) and {"conversation", "qa"} <= entry.value.keys()


def read_sample(sample: Node) -> Scope:
    """The conversation's scope, with all its questions."""
    sample = sample.named("sample_id")
    sample_id = sample.text("sample_id")
    haystack, session_of = _read_conversation(sample.child("conversation"))
    if not haystack.memories:
        raise sample.fail("the conversation has no turns")
    end = max(memory.created_at for memory in haystack.memories)
    questions = []
    for number, entry in enumerate(sample.children("qa"), start=1):
        category = entry.child("category")
        if not isinstance(category.value, int) or category.value not in _CATEGORIES:
            raise category.fail(f"{category.value!r} is not one of 1 to 5")
        turns = tuple(turn for turn in _read_evidence(entry) if turn in haystack.turns)
        questions.append(
            Question(
                id=f"{sample_id}-q{number}",
                text=entry.text("question"),
                type=_CATEGORIES[category.value],
                asked_at=end,
                abstention=category.value == _ADVERSARIAL,
                sessions=tuple(dict.fromkeys(session_of[turn] for turn in turns)),
                turns=turns,
            )
        )
    return Scope(
        sample_id,
        tuple(haystack.memories),
        tuple(questions),
        haystack.empty_turns,
        haystack.split_turns,
    )


def _read_conversation(conversation: Node) -> tuple[Haystack, dict[str, str]]:
    """The memories, and the session of each turn."""
    numbers = [match.group(1) for match in map(_SESSION.fullmatch, conversation.fields()) if match]
    haystack = Haystack()
    session_of: dict[str, str] = {}
    for session in (f"session_{number}" for number in sorted(numbers, key=int)):
        turns = conversation.children(session)
        if not turns:
            continue
        start = conversation.child(f"{session}_date_time").time(_parse_date)
        for position, turn in enumerate(turns):
            turn_id = _turn_id(turn)
            session_of.setdefault(turn_id, session)
            speaker = turn.text("speaker")
            utterance = _utterance(turn)
            content = f"{speaker}: {utterance}" if utterance else ""
            created_at = start + timedelta(seconds=position)
            haystack.add(session, turn_id, created_at, content, {"speaker": speaker})
    return haystack, session_of


def _utterance(turn: Node) -> str:
    """The turn's text, and the caption of a shared image."""
    caption = turn.text("blip_caption").strip() if turn.has("blip_caption") else ""
    photo = f"[shares a photo: {caption}]" if caption else ""
    return f"{turn.text('text').strip()} {photo}".strip()


def _turn_id(turn: Node) -> str:
    turns = _turns_in(turn.text("dia_id"))
    if len(turns) != 1:
        raise turn.fail(f"dia_id {turn.value['dia_id']!r} is not of the form D1:3")
    return turns[0]


def _read_evidence(entry: Node) -> list[str]:
    """The turns that are named, each once; evidence without a turn id is ignored."""
    if not entry.has("evidence"):
        return []
    return list(dict.fromkeys(turn for text in entry.texts("evidence") for turn in _turns_in(text)))


def _turns_in(text: str) -> list[str]:
    return [f"D{int(session)}:{int(turn)}" for session, turn in _TURN.findall(text)]


def _parse_date(text: str) -> datetime:
    return datetime.strptime(text.strip(), _DATE_FORMAT)  # noqa: DTZ007 - Node adds UTC
