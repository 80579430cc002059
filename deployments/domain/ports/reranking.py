"""The port that scores a query and its hits together."""

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """A cross-encoder, in this process or another. Raises Unavailable."""

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers `query`, in the order of `texts`: higher is better; the scale
        depends on the model.

        Raises Unavailable also if the answer comes too late to be worth waiting for.
        """
        ...
