"""The port that reads a query and its hits together."""

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """A cross-encoder, wherever it runs. Raises Unavailable."""

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers `query`, in the order of `texts`: higher is better, on a scale
        of the model's own.

        Raises Unavailable also if the answer comes too late to be worth waiting for.
        """
        ...
