"""From the settings to an encoder."""

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
    read: Callable[[int], None] = lambda _tokens: None,
) -> Encoder:
    """The set model, converted or downloaded into `models_dir` where it is not there yet. `read` is
    told of the tokens it reads.

    Raises BadSetting or ModelUnavailable.
    """
    if settings.stand_in_ms > 0:
        return SleepingEncoder(settings.stand_in_ms)
    if settings.model == DEFAULT_MODEL:
        artifact = prepare_default_model(settings, models_dir, progress)
        return OnnxEncoder(artifact, threads, read)
    # Importing fastembed takes over a second, which every replica's start would pay.
    from deployments.embedder.encoders.fastembed import FastembedEncoder

    progress(f"loading {settings.model}, downloaded where it is not here yet", 0, 1)
    return FastembedEncoder(settings.model, models_dir, threads, read=read)
