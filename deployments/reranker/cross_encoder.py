"""A cross-encoder in this process, of those that fastembed supports."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from fastembed.rerank.cross_encoder import TextCrossEncoder

from deployments.runtime import hub

# Few enough that little is padded, and that a call which nobody waits for ends soon.
_BATCH_ROWS = 8


class CrossEncoder:
    """Downloads the model on the first use of its cache. Thread-safe."""

    def __init__(self, model: str, cache_dir: Path, threads: int, **options: Any) -> None:
        self._model = hub.load(
            TextCrossEncoder, "MEMEX_RERANKER_MODEL", model, cache_dir, threads, **options
        )

    def scores(
        self, query: str, texts: Sequence[str], stop: Callable[[], bool] = lambda: False
    ) -> list[float]:
        """How well each text answers `query`, in the order of `texts`; higher is better.

        What is longer than the model's window is cut off. `stop` is asked before each batch, and
        CancelledError is raised where it says so.
        """
        # Texts of similar length go together, since fastembed pads each batch to its longest.
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
