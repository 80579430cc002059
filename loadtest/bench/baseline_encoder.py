"""The baseline's encoder: the service's own model file, run by fastembed with its defaults.

fastembed passes token ids as int64 and the file takes int32, so this adds a cast to a copy of it.
"""

import shutil
import tempfile
from pathlib import Path

import onnx
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from onnx import TensorProto, helper

from deployments.domain.embeddings import Embeddings
from deployments.embedder.models.artifact import prepare_default_model
from deployments.embedder.settings import EmbeddingSettings

_NAME = "baseline/all-MiniLM-L6-v2"
_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json", "special_tokens_map.json")


class FastembedEncoder:
    """fastembed with its default threads and batches."""

    def __init__(self, models_dir: Path) -> None:
        TextEmbedding.add_custom_model(
            model=_NAME,
            pooling=PoolingType.DISABLED,
            normalization=False,
            sources=ModelSource(url="https://unused.example"),
            dim=384,
            model_file="model.onnx",
        )
        folder = _folder(models_dir)
        self._model = TextEmbedding(_NAME, specific_model_path=str(folder))

    def encode(self, text: str) -> Embeddings:
        """`(384,) float32`, L2-normalised."""
        embedding: Embeddings
        (embedding,) = self._model.embed([text])
        return embedding


def _folder(models_dir: Path) -> Path:
    """The folder that fastembed loads the model from; created if it does not exist."""
    folder = models_dir / "baseline"
    if folder.is_dir():
        return folder
    artifact = prepare_default_model(EmbeddingSettings(), models_dir)
    fresh = Path(tempfile.mkdtemp(dir=models_dir))
    for name in _FILES:
        shutil.copy(artifact.tokenizer_path.with_name(name), fresh)
    model = onnx.load(str(artifact.model_path))
    graph = model.graph
    graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    for node in graph.node:
        node.input[:] = ["ids" if name == "input_ids" else name for name in node.input]
    graph.node.insert(0, helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT32))
    onnx.save(model, str(fresh / "model.onnx"))
    fresh.rename(folder)
    return folder
