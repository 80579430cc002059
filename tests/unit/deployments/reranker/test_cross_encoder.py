"""The cross-encoder, with a small model from conftest.py instead of one from the hub."""

import os
import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from fastembed.rerank.cross_encoder import TextCrossEncoder

from deployments.domain.errors import BadSetting, ModelUnavailable
from deployments.reranker.cross_encoder import CrossEncoder
from tests.support.models.cross_encoder import NAME

QUERY = "Which tea does Ana drink?"


@pytest.fixture(scope="module")
def encoder(cross_encoders_dir: Path) -> CrossEncoder:
    return CrossEncoder(NAME, cross_encoders_dir, 1)


def test_text_that_shares_tokens_with_the_query_scores_higher(encoder: CrossEncoder) -> None:
    unrelated, related = encoder.scores(
        QUERY, ["The train leaves at nine.", "Ana likes green tea."]
    )
    assert isinstance(related, float)
    assert related == unrelated + 2


def test_scores_are_in_the_order_of_the_texts(encoder: CrossEncoder) -> None:
    texts = ["tea " * n + "train " * m for n, m in ((9, 40), (1, 0), (30, 1), (2, 90), (0, 7))] * 6
    scores = encoder.scores(QUERY, texts)
    assert scores == [score for text in texts for score in encoder.scores(QUERY, [text])]
    assert len(set(scores)) == 5


def test_batches_have_texts_of_similar_length(
    encoder: CrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []

    def rerank(_query: str, texts: list[str]) -> list[float]:
        batches.append([len(text) for text in texts])
        return [0.0] * len(texts)

    monkeypatch.setattr(encoder._model, "rerank", rerank)
    encoder.scores(QUERY, ["x" * (n * 7 % 20) for n in range(20)])
    assert sorted(batches) == batches
    assert [length for batch in batches for length in batch] == list(range(20))
    assert max(map(len, batches)) <= 8


def test_no_texts_have_no_scores(encoder: CrossEncoder) -> None:
    assert encoder.scores(QUERY, []) == []


def test_8000_characters_and_odd_texts_are_scored(encoder: CrossEncoder) -> None:
    texts = [
        "tea " * 2_000,
        "é" * 8_000,
        "漢" * 8_000,
        "🙂" * 8_000,
        "\u200b",
        " ",
        "",
        "a" * 8_000,
    ]
    assert len(encoder.scores("tea " * 500, texts)) == len(texts)


def test_scoring_stops_between_batches_on_request(encoder: CrossEncoder) -> None:
    results: list[bool] = []

    def stop() -> bool:
        results.append(len(results) == 1)
        return results[-1]

    with pytest.raises(CancelledError):
        encoder.scores(QUERY, ["tea"] * 40, stop)
    assert len(results) == 2


def test_error_about_an_unknown_model_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"MEMEX_RERANKER_MODEL.*no/such-model.*https://"):
        CrossEncoder("no/such-model", tmp_path, 1)


def test_error_about_a_failed_download_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match=r"RERANKER_MODEL: Xenova/ms-.*network") as raised:
        CrossEncoder("Xenova/ms-marco-MiniLM-L-6-v2", tmp_path, 1, local_files_only=True)
    assert "\n" not in str(raised.value)


def test_model_of_the_documentation_is_supported() -> None:
    supported = {entry["model"] for entry in TextCrossEncoder.list_supported_models()}
    assert "Xenova/ms-marco-MiniLM-L-6-v2" in supported


def test_libraries_collect_no_telemetry(cross_encoders_dir: Path, tmp_path: Path) -> None:
    """ONNX Runtime stores its telemetry below the home folder before it sends it."""
    code = (
        "import sys\n"
        "import deployments.reranker.cross_encoder\n"
        "import huggingface_hub.constants, onnxruntime\n"
        "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY"
    )
    (graph,) = cross_encoders_dir.rglob("model.onnx")
    # Without the variable CI, which disables telemetry too.
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code, str(graph)], env=environ, check=True)
    assert list(tmp_path.rglob("*")) == []
