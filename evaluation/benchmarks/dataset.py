"""The parts of a benchmark, in one form for all file formats. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Memory:
    """A turn, or a piece of a long one. The metadata names its `session` and `turn`."""

    content: str
    created_at: datetime
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the evidence that a search should find."""

    id: str
    text: str
    type: str
    asked_at: datetime  # not before any memory of its scope
    abstention: bool  # the memories hold no answer: nothing to find, so no figures
    sessions: tuple[str, ...]
    turns: tuple[str, ...]
    late_sessions: int = 0  # how many of `sessions` the file dates after the question

    @property
    def answerable(self) -> bool:
        """Whether it counts in the figures."""
        return not self.abstention and bool(self.sessions)

    @property
    def asked(self) -> bool:
        """Whether it is asked: it has evidence, or its lack of evidence is the point."""
        return self.abstention or bool(self.sessions)


@dataclass(frozen=True, slots=True)
class Scope:
    """The memories of one user, and the questions about them."""

    id: str
    memories: tuple[Memory, ...]
    questions: tuple[Question, ...]
    empty_turns: int
    split_turns: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """The content of a benchmark's file."""

    benchmark: str
    file: str
    sha256: str
    scopes: tuple[Scope, ...]

    @property
    def questions(self) -> list[Question]:
        """All questions, in the file's order."""
        return [question for scope in self.scopes for question in scope.questions]

    def limited(self, limit: int | None) -> Self:
        """Only the first `limit` questions, and the scopes they need; all if None."""
        if limit is None:
            return self
        scopes = []
        for scope in self.scopes:
            kept = scope.questions[:limit]
            limit -= len(kept)
            if kept:
                scopes.append(replace(scope, questions=kept))
        return replace(self, scopes=tuple(scopes))
