"""The Reranker node: runs one inference at a time, in a thread, for callers that still wait."""

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
    never starts, and a running one ends after its current batch: otherwise late work would delay
    the calls that are queued.
    """

    def __init__(
        self, settings: RerankerSettings, models_dir: str, threads: int, metrics: bool = False
    ) -> None:
        node.prepare("Reranker")
        count_cpu(metrics)
        # Imported here, because fastembed takes over a second to import.
        from deployments.reranker.cross_encoder import CrossEncoder

        self._encoder = CrossEncoder(settings.model, Path(models_dir), threads)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reranker")

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        cancelled = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._executor, self._encoder.scores, query, texts, cancelled.is_set
            )
        except asyncio.CancelledError:
            cancelled.set()
            raise
