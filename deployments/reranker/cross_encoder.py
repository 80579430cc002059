"""Runs a cross-encoder that fastembed supports, in this process."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from fastembed.rerank.cross_encoder import TextCrossEncoder

from deployments.runtime import hub

# Small, so that there is little padding and a cancelled call ends soon.
_BATCH_ROWS = 8


class CrossEncoder:
    """Downloads the model if the cache lacks it. Thread-safe."""

    def __init__(self, model: str, cache_dir: Path, threads: int, **options: Any) -> None:
        self._model = hub.load(
            TextCrossEncoder, "MEMEX_RERANKER_MODEL", model, cache_dir, threads, **options
        )

    def scores(
        self, query: str, texts: Sequence[str], stop: Callable[[], bool] = lambda: False
    ) -> list[float]:
        """How well each text answers `query`, in the order of `texts`; higher is better.

        A text longer than the model's window is truncated. Calls `stop` before each batch, and
        raises CancelledError if it returns true.
        """
        # Batch texts of similar length, because fastembed pads each batch to its longest.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        scores = [0.0] * len(texts)
        for start in range(0, len(order), _BATCH_ROWS):
            if stop():
                raise CancelledError
            batch = order[start : start + _BATCH_ROWS]
            rows = self._model.rerank(query, [texts[index] for index in batch])
            for index, score in zip(batch, rows, strict=True):
                scores[index] = score
        return scores
