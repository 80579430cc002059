"""What a benchmark is made of, whichever file it was read from. Pure."""

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
    """A question and the evidence that a search should bring back."""

    id: str
    text: str
    type: str
    asked_at: datetime  # not before any memory of its scope
    abstention: bool  # has no answer in the memories: nothing to find, so no figures
    sessions: tuple[str, ...]
    turns: tuple[str, ...]
    late_sessions: int = 0  # those of `sessions` that the file dates after the question

    @property
    def answerable(self) -> bool:
        """Whether it counts in the figures."""
        return not self.abstention and bool(self.sessions)

    @property
    def asked(self) -> bool:
        """Without evidence there is nothing to measure, unless that is the point."""
        return self.abstention or bool(self.sessions)


@dataclass(frozen=True, slots=True)
class Scope:
    """Memories of one user, and the questions that are asked among them."""

    id: str
    memories: tuple[Memory, ...]
    questions: tuple[Question, ...]
    empty_turns: int
    split_turns: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file that was read."""

    benchmark: str
    file: str
    sha256: str
    scopes: tuple[Scope, ...]

    @property
    def questions(self) -> list[Question]:
        """All of them, in the file's order."""
        return [question for scope in self.scopes for question in scope.questions]

    def limited(self, limit: int | None) -> Self:
        """With the first questions alone, and the scopes they need."""
        if limit is None:
            return self
        scopes = []
        for scope in self.scopes:
            kept = scope.questions[:limit]
            limit -= len(kept)
            if kept:
                scopes.append(replace(scope, questions=kept))
        return replace(self, scopes=tuple(scopes))
