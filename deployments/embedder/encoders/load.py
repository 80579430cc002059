"""Loads the encoder that the settings name."""

from collections.abc import Callable
from pathlib import Path

from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.onnx import OnnxEncoder
from deployments.embedder.encoders.sleeping import SleepingEncoder
from deployments.embedder.models.artifact import Progress, prepare_default_model
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings


def load_encoder(
    settings: EmbeddingSettings,
    models_dir: Path,
    threads: int = 1,
    progress: Progress = lambda _label, _done, _total: None,
    count_tokens: Callable[[int], None] = lambda _tokens: None,
) -> Encoder:
    """The encoder; its model is converted or downloaded if `models_dir` lacks it. The encoder calls
    `count_tokens` with each number of tokens that it reads.

    Raises BadSetting or ModelUnavailable.
    """
    if settings.stand_in_ms > 0:
        return SleepingEncoder(settings.stand_in_ms)
    if settings.model == DEFAULT_MODEL:
        artifact = prepare_default_model(settings, models_dir, progress)
        return OnnxEncoder(artifact, threads, count_tokens)
    # Importing fastembed takes over a second, which every replica's start would pay.
    from deployments.embedder.encoders.fastembed import FastembedEncoder

    progress(f"loading {settings.model}, which may have to be downloaded", 0, 1)
    return FastembedEncoder(settings.model, models_dir, threads, count_tokens=count_tokens)
