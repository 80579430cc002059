"""Small data sets in the formats of the benchmarks."""

import gzip
import json
from pathlib import Path
from typing import Any

Turns = list[dict[str, Any]]


def turn(content: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def longmemeval_entry(
    question_id: str = "q1",
    question: str = "Where does the parrot sleep?",
    question_type: str = "single-session-user",
    answers: tuple[str, ...] = ("a",),
    sessions: tuple[tuple[str, str, Turns], ...] | None = None,
) -> dict[str, Any]:
    sessions = sessions or (
        ("n", "2023/05/01 (Mon) 10:00", [turn("I baked bread today."), turn("Nice!", "assistant")]),
        (
            "a",
            "2023/05/02 (Tue) 11:30",
            [
                turn("My parrot sleeps in the kitchen.", has_answer=True),
                turn("Lovely bird.", "assistant", has_answer=False),
            ],
        ),
    )
    return {
        "question_id": question_id,
        "question_type": question_type,
        "question": question,
        "question_date": "2023/06/23 (Fri) 07:31",
        "answer": "in the kitchen",
        "answer_session_ids": list(answers),
        "haystack_session_ids": [id_ for id_, _, _ in sessions],
        "haystack_dates": [date for _, date, _ in sessions],
        "haystack_sessions": [turns for _, _, turns in sessions],
    }


def locomo_sample(sample_id: str = "talk-1") -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "qa": [
            qa("Where is the lighthouse?", 4, "D1:1"),
            qa("Which trips were there?", 1, "D2:1; D1:01", "D:1:3", "D"),
            qa("What would Ann read?", 3),
            qa("When did Bob swim?", 2, "D9:9"),
            {"question": "What did Cid say?", "category": 5, "evidence": ["D1:2"]},
        ],
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Bob",
            "session_2_date_time": "12:05 am on 9 June, 2023",
            "session_2": [utterance("Ann", "D2:1", "We saw a harbour trip.")],
            "session_10_date_time": "1:00 pm on 1 July, 2023",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                utterance("Ann", "D1:1", "Look at this lighthouse!", blip_caption="a tall tower "),
                utterance("Bob", "D1:2", ""),
                utterance("Bob", "D1:3", "Great trip."),
            ],
        },
    }


def qa(question: str, category: int, *evidence: str) -> dict[str, Any]:
    return {"question": question, "answer": 3, "evidence": list(evidence), "category": category}


def utterance(speaker: str, dia_id: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"speaker": speaker, "dia_id": dia_id, "text": text, **fields}


def write(path: Path, value: Any) -> Path:
    """Write the value as JSON or as JSON Lines, gzipped or not; the file name decides."""
    if ".jsonl" in path.name:
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in value)
    else:
        text = json.dumps(value, indent=2)
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if path.name.endswith(".gz") else raw)
    return path
