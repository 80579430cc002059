"""The default model with its real weights and ONNX Runtime: conversion, windows, identity."""

import base64
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.domain.errors import ModelUnavailable
from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.models.artifact import MINILM, prepare_default_model
from deployments.embedder.settings import EmbeddingSettings
from serve_app.settings import ROOT

REFERENCE = json.loads(
    (ROOT / "tests" / "data" / "reference_embeddings.json").read_text(encoding="utf-8")
)["embeddings"]
TEXTS = [entry["text"] for entry in REFERENCE]
VECTORS = np.stack([np.frombuffer(base64.b64decode(entry["vector"]), "<f4") for entry in REFERENCE])


@pytest.mark.parametrize(("precision", "min_cosine"), [("fp32", 0.9999), ("int8", 0.98)])
@pytest.mark.parametrize("in_one_batch", [True, False])
def test_embeddings_match_the_reference(
    models_dir: Path, precision: str, min_cosine: float, in_one_batch: bool
) -> None:
    encoder = load_encoder(EmbeddingSettings(precision=precision), models_dir)
    batches = [TEXTS] if in_one_batch else [[text] for text in TEXTS]
    rows = np.concatenate([encoder.encode(batch, "passage") for batch in batches])
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (rows * VECTORS).sum(axis=1).min() >= min_cosine


PARAPHRASES = [
    ("How do I reset my password?", "I forgot my login credentials and need to recover my account"),
    (
        "The meeting was moved to Friday",
        "Our appointment has been rescheduled to the end of the week",
    ),
    ("She adopted a small dog", "A puppy has joined her household"),
    ("The server ran out of disk space", "There is no storage left on the machine"),
    ("He prefers tea over coffee", "His favourite hot drink is not coffee but tea"),
    ("The flight was delayed by snow", "Because of winter weather the plane departed late"),
]


def test_paraphrases_rank_above_unrelated_sentences(encoder: Encoder) -> None:
    queries = encoder.encode([a for a, _ in PARAPHRASES], "query")
    passages = encoder.encode([b for _, b in PARAPHRASES], "passage")
    assert (queries @ passages.T).argmax(axis=1).tolist() == list(range(len(PARAPHRASES)))


def test_long_texts_are_encoded_to_their_end(encoder: Encoder) -> None:
    filler = "The weather was pleasant and nothing much happened that day. " * 60
    fact = "The access code of the vault is a line from a poem by Rilke. " * 20
    query = encoder.encode(["access code of the vault"], "query")[0]
    without, with_fact = encoder.encode([filler, filler + fact], "passage")
    assert query @ with_fact > query @ without + 0.1


def test_8000_characters_and_odd_texts_are_embedded(encoder: Encoder) -> None:
    texts = ["x " * 4_000, "é" * 8_000, "漢" * 8_000, "🙂" * 8_000, "​", " ", "\n\t", "a" * 8_000]
    rows = encoder.encode(texts, "passage")
    assert rows.shape == (len(texts), 384)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_embedding_hardly_depends_on_the_batch(encoder: Encoder) -> None:
    """int8 scales activations by batch, so that embeddings differ a little."""
    single = encoder.encode([TEXTS[0]], "passage")[0]
    in_batch = encoder.encode(TEXTS * 3, "passage")[0]
    assert single @ in_batch > 0.98


def test_identity_has_the_revision_of_the_weights(encoder: Encoder) -> None:
    assert encoder.identity.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert encoder.identity.revision.startswith("53aa51172d142c89")
    assert (encoder.identity.precision, encoder.identity.dimensions) == ("int8", 384)


def test_model_is_converted_once(models_dir: Path, encoder: Encoder) -> None:
    steps: list[str] = []
    load_encoder(EmbeddingSettings(), models_dir, progress=lambda label, *_: steps.append(label))
    assert steps == []


def test_weights_with_another_checksum_are_refused(tmp_path: Path) -> None:
    other = replace(MINILM, weights_sha256="0" * 64)
    with pytest.raises(ModelUnavailable, match="not the expected ones"):
        prepare_default_model(EmbeddingSettings(), tmp_path, packaged=other)
    assert list(tmp_path.iterdir()) == []


def test_error_about_a_missing_package_names_it(tmp_path: Path) -> None:
    missing = replace(MINILM, package="no_such_package")
    with pytest.raises(ModelUnavailable, match="no-such-package"):
        prepare_default_model(EmbeddingSettings(), tmp_path, packaged=missing)


def test_libraries_collect_no_telemetry(models_dir: Path, encoder: Encoder, tmp_path: Path) -> None:
    """ONNX Runtime stores its telemetry below the home folder before it sends it."""
    code = (
        "from pathlib import Path; import sys\n"
        "from deployments.embedder.encoders.load import load_encoder\n"
        "from deployments.embedder.settings import EmbeddingSettings\n"
        "load_encoder(EmbeddingSettings(), Path(sys.argv[1])).encode(['x'], 'query')"
    )
    # Without the variable CI, which disables telemetry too.
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code, str(models_dir)], env=environ, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_encoder_reports_the_tokens_it_reads(models_dir: Path) -> None:
    counts: list[int] = []
    encoder = load_encoder(EmbeddingSettings(), models_dir, count_tokens=counts.append)
    encoder.encode(["hello"], "query")
    encoder.encode(["hello", "hello hello hello"], "passage")
    assert counts == [3, 8]  # with the two tokens that begin and end a text
