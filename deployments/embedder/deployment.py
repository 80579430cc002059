"""The Embedder node: batches calls and runs inference in a thread, off the event loop."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import serve

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind, TextsOfKind
from deployments.domain.errors import Unavailable
from deployments.domain.ports.embedding import BatchedEmbedder
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.mixed_batch import encode_calls
from deployments.embedder.settings import BatchConfig, EmbeddingSettings
from deployments.runtime import node
from deployments.runtime.metrics import EmbedderMetrics, count_cpu


@node.answering(BatchedEmbedder)
class Embedder:
    """Implements the BatchedEmbedder port through its handle."""

    def __init__(
        self, settings: EmbeddingSettings, models_dir: str, threads: int, metrics: bool = True
    ) -> None:
        node.prepare("Embedder")
        self._metrics = EmbedderMetrics(metrics)
        count_cpu(metrics)
        self._encoder = load_encoder(
            settings, Path(models_dir), threads, count_tokens=self._metrics.count_tokens
        )

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        config = BatchConfig.model_validate(user_config)
        self._embed.set_max_batch_size(config.max_batch_size)
        self._embed.set_batch_wait_timeout_s(config.batch_wait_timeout_s)

    async def identity(self) -> ModelIdentity:
        return self._encoder.identity

    async def has(self, identity: ModelIdentity) -> bool:
        return identity == self._encoder.identity

    async def embed(
        self, texts: Sequence[str], kind: TextKind, identity: ModelIdentity
    ) -> Embeddings:
        return await self.embed_each([(texts, kind)], identity)

    async def embed_each(
        self, callers: Sequence[TextsOfKind], identity: ModelIdentity
    ) -> Embeddings:
        if identity != self._encoder.identity:
            raise Unavailable("embedder")
        return await self._embed(callers)  # type: ignore[no-any-return]

    # The next batch gathers while one is computed, so a call to an idle replica need not wait.
    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _embed(self, calls: list[Sequence[TextsOfKind]]) -> list[Embeddings]:
        return await asyncio.to_thread(self._encode, calls)

    def _encode(self, calls: list[Sequence[TextsOfKind]]) -> list[Embeddings]:
        rows = encode_calls(calls, self._encode_kind, self._encoder.identity.dimensions)
        self._metrics.observe_batch(sum(map(len, rows)))
        return rows

    def _encode_kind(self, texts: list[str], kind: TextKind) -> Embeddings:
        started_s = time.perf_counter()
        try:
            rows = self._encoder.encode(texts, kind)
        except Exception as error:
            self._metrics.count_error(kind, error)
            raise
        self._metrics.observe_duration(kind, time.perf_counter() - started_s)
        return rows
