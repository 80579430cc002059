"""The Embedder node: batches calls, keeps inference off the event loop."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from deployments.domain.errors import Unavailable
from deployments.domain.types import Embeddings, ModelIdentity, TextKind
from deployments.embedder.load import load_encoder
from deployments.embedder.settings import BatchConfig, EmbeddingSettings
from deployments.metrics import EmbedderMetrics

Call = tuple[Sequence[str], TextKind]


class Embedder:
    """Implements the Embedder port through its handle."""

    def __init__(self, settings: EmbeddingSettings, models_dir: str, threads: int) -> None:
        self._encoder = load_encoder(settings, Path(models_dir), threads)
        self._metrics = EmbedderMetrics()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        config = BatchConfig.model_validate(user_config)
        self._embed.set_max_batch_size(config.max_batch_size)
        self._embed.set_batch_wait_timeout_s(config.batch_wait_timeout_s)

    async def identity(self) -> ModelIdentity:
        return self._encoder.identity

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        if identity != self._encoder.identity:
            raise Unavailable("embedder")
        return await self._embed((texts, kind))  # type: ignore[no-any-return]

    # While one batch is computed the next one gathers, so nobody waits for company when idle.
    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _embed(self, calls: list[Call]) -> list[Embeddings]:
        return await asyncio.to_thread(self._encode, calls)

    def _encode(self, calls: list[Call]) -> list[Embeddings]:
        started = time.perf_counter()
        embeddings: list[Embeddings] = [np.empty(0, np.float32)] * len(calls)
        for kind in ("query", "passage"):
            chosen = [index for index, call in enumerate(calls) if call[1] == kind]
            texts = [text for index in chosen for text in calls[index][0]]
            if not texts:
                continue
            rows = self._encoder.encode(texts, kind)
            edges = np.cumsum([len(calls[index][0]) for index in chosen])[:-1]
            for index, part in zip(chosen, np.split(rows, edges), strict=True):
                embeddings[index] = part
        self._metrics.embedded(sum(len(texts) for texts, _ in calls), time.perf_counter() - started)
        return embeddings
