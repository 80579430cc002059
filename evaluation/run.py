"""Runs a benchmark against the service: stores each scope, asks its questions, deletes it."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from evaluation.benchmarks.dataset import Dataset, Question, Scope
from evaluation.client import Place, Service, rfc3339
from evaluation.connection import Answer
from evaluation.errors import ServiceError
from evaluation.figures import positions
from evaluation.journal import Journal, Record

TOP_K = 50  # the API's maximum
_MAX_ID_CHARS = 128


@dataclass(frozen=True, slots=True)
class Progress:
    """The two progress bars."""

    memories: Any
    questions: Any


async def evaluate(
    dataset: Dataset,
    search: dict[str, Any],
    key: str,
    jobs: int,
    service: Service,
    journal: Journal,
) -> None:
    """Ask every question that is not in the journal, `jobs` scopes at a time.

    `search` has the settings of all searches, `key` names the run. Raises ServiceError.
    """
    places = [_place(key, number, scope) for number, scope in enumerate(dataset.scopes, start=1)]
    pending = [
        (place, scope, questions)
        for place, scope in zip(places, dataset.scopes, strict=True)
        if (questions := [q for q in scope.questions if q.asked and q.id not in journal.records])
    ]
    memories = sum(len(scope.memories) for _, scope, _ in pending)
    total = sum(question.asked for question in dataset.questions)
    remaining = iter(pending)

    async def work() -> None:
        for place, scope, questions in remaining:  # shared by all workers
            await _run_scope(place, scope, questions, search, service, journal, progress)

    with _progress(memories, total, len(journal.records)) as progress:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(jobs, len(pending))):
                    group.create_task(work())
        except ExceptionGroup as errors:  # the first error cancelled the other workers
            raise errors.exceptions[0] from None


async def _run_scope(
    place: Place,
    scope: Scope,
    questions: list[Question],
    search: dict[str, Any],
    service: Service,
    journal: Journal,
    progress: Progress,
) -> None:
    try:
        await service.forget(place)  # left by a killed run
        await service.store(place, scope.memories, progress.memories.update)
        for question in questions:
            settings = {"top_k": TOP_K, "as_of": rfc3339(question.asked_at), **search}
            answer = await service.search(place, question.text, settings)
            journal.add({**_record(question, answer), "repeated": service.take_repeated()})
            progress.questions.update()
        await service.forget(place)
    except BaseException:  # also when cancelled
        await service.forget_if_possible(place)
        raise


def _record(question: Question, answer: Answer) -> Record:
    """The ranks of the question's evidence, the top score and the latency."""
    try:
        hits = [(hit["metadata"]["session"], hit["metadata"]["turn"]) for hit in answer.body]
        top_score = answer.body[0]["score"] if answer.body else None
    except (KeyError, TypeError):
        raise ServiceError("a search found a memory without its metadata or score") from None
    sessions = positions([session for session, _ in hits])
    turns = positions([turn for _, turn in hits])
    return {
        "question_id": question.id,
        "sessions": {session: sessions.get(session) for session in question.sessions},
        "turns": {turn: turns.get(turn) for turn in question.turns},
        "top_score": top_score,
        "latency_ms": round(answer.seconds * 1000, 3),
    }


def _place(key: str, number: int, scope: Scope) -> Place:
    """A place named after the run, so that runs with other settings use other places."""
    return Place(f"evaluation-{key}-{number}", scope.id[:_MAX_ID_CHARS])


def log(text: str) -> None:
    """Print a line for the user, above the progress bars."""
    tqdm.write(f"evaluation: {text}", file=sys.stderr)


@contextlib.contextmanager
def _progress(memories: int, questions: int, done: int) -> Iterator[Progress]:
    # If stderr is no terminal, each update is a line of its own.
    options = {"file": sys.stderr, "mininterval": 0.5 if sys.stderr.isatty() else 30.0}
    with (
        tqdm(total=memories, desc="memories stored", position=0, **options) as memory_bar,
        tqdm(
            total=questions, initial=done, desc="questions asked", position=1, **options
        ) as question_bar,
    ):
        yield Progress(memory_bar, question_bar)
