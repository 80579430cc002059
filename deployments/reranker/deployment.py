"""The Reranker node: one inference at a time, off the event loop, for callers who still wait."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deployments.domain.ports import reranking as ports
from deployments.reranker.settings import RerankerSettings
from deployments.runtime import node
from deployments.runtime.metrics import count_cpu


@node.answering(ports.Reranker)
class Reranker:
    """Implements the Reranker port through its handle.

    Callers wait for some milliseconds and then cancel. A call that is cancelled before its turn
    is never begun, and one that is running ends with its batch: else late work would make the
    calls behind it late as well.
    """

    def __init__(
        self, settings: RerankerSettings, models_dir: str, threads: int, metrics: bool = False
    ) -> None:
        node.prepare("Reranker")
        count_cpu(metrics)
        # Importing fastembed takes over a second, which everyone who imports this would pay.
        from deployments.reranker.cross_encoder import CrossEncoder

        self._encoder = CrossEncoder(settings.model, Path(models_dir), threads)
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reranker")

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        gone = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._turns, self._encoder.scores, query, texts, gone.is_set
            )
        except asyncio.CancelledError:
            gone.set()
            raise
