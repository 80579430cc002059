"""Makes memories from turns: leaves out empty ones, splits those that are too long. Pure."""

from datetime import datetime

from evaluation.benchmarks.dataset import Memory

MAX_CONTENT_CHARS = 8_000  # the API's limit for a memory


class Haystack:
    """Gathers the memories of one scope."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []
        self.starts: dict[str, datetime] = {}
        self.turns: set[str] = set()
        self.empty_turns = 0
        self.split_turns = 0

    def add(
        self, session: str, turn: str, created_at: datetime, content: str, speaker: dict[str, str]
    ) -> None:
        """Add a turn. If `turn` was added before, this is a copy of it at another time."""
        if not content.strip():
            self.empty_turns += 1
            return
        pieces = split(content)
        self.split_turns += len(pieces) > 1
        metadata = {"session": session, "turn": turn, **speaker}
        self.memories.extend(Memory(piece, created_at, metadata) for piece in pieces)
        self.turns.add(turn)
        self.starts[session] = min(created_at, self.starts.get(session, created_at))


def split(text: str, limit: int = MAX_CONTENT_CHARS) -> list[str]:
    """Pieces of at most `limit` characters, cut at whitespace, or anywhere if there is none."""
    if len(text) <= limit:
        return [text]
    pieces = []
    text = text.strip()
    while len(text) > limit:
        cut = next((at for at in range(limit, 0, -1) if text[at].isspace()), limit)
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*pieces, text]
