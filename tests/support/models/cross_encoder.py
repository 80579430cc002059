"""A small cross-encoder in the layout of the hub's cache, so that the code for downloaded models
loads it: a dozen operators, the real tokenizer."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.models import hub_cache

NAME = "test/word-overlap"


def put_into(cache: Path, name: str) -> None:
    """Write the model to the cache as if it had been downloaded under `name`."""
    hub_cache.put_into(cache, name, word_overlap())


def word_overlap() -> onnx.ModelProto:
    """Count the text's tokens that the query has; `token_type_ids` separate text and query."""
    nodes = [
        helper.make_node("Mul", ["token_type_ids", "attention_mask"], ["of_text"]),
        helper.make_node("Sub", ["attention_mask", "of_text"], ["of_query"]),
        helper.make_node("Unsqueeze", ["input_ids", "last"], ["rows"]),
        helper.make_node("Unsqueeze", ["input_ids", "middle"], ["columns"]),
        helper.make_node("Equal", ["rows", "columns"], ["same"]),
        helper.make_node("Cast", ["same"], ["same_or_0"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["of_query", "middle"], ["query_columns"]),
        helper.make_node("Mul", ["same_or_0", "query_columns"], ["same_as_query"]),
        helper.make_node("ReduceMax", ["same_as_query"], ["in_query"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["in_query", "of_text"], ["shared"]),
        helper.make_node("ReduceSum", ["shared", "middle"], ["count"]),
        helper.make_node("Cast", ["count"], ["logits"], to=TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    axes = [
        onnx.numpy_helper.from_array(np.array([axis]), name)
        for axis, name in ((1, "middle"), (2, "last"))
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph(nodes, "overlap", inputs, [logits], axes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
