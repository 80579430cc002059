"""A small text encoder in the layout of the hub's cache, so that the code for downloaded models
loads it: two operators, the real tokenizer, and more dimensions than the default model."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.models import hub_cache

MODEL = "thenlper/gte-base"
DIMENSIONS = 768
_VECTORS = 4_001


def put_into(cache: Path) -> None:
    """Write the model to the cache as if it had been downloaded."""
    hub_cache.put_into(cache, MODEL, _graph())


def _graph() -> onnx.ModelProto:
    """Look up each token's vector at its id modulo `_VECTORS`, so that few tokens share one."""
    vectors = np.random.default_rng(3).normal(size=(_VECTORS, DIMENSIONS)).astype(np.float32)
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    out = helper.make_tensor_value_info(
        "last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", DIMENSIONS]
    )
    nodes = [
        helper.make_node("Mod", ["input_ids", "count"], ["index"]),
        helper.make_node("Gather", ["vectors", "index"], ["last_hidden_state"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(_VECTORS), "count"),
        onnx.numpy_helper.from_array(vectors, "vectors"),
    ]
    graph = helper.make_graph(nodes, "bag", ids, [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
