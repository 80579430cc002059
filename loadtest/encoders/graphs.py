"""ONNX graphs of the default model for compare.py, made from the service's own.

Each function changes the graph of deployments/embedder/models/graph.py in place.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

_FUSED = "com.microsoft"


def fuse_norms(model: onnx.ModelProto) -> None:
    """Replace each sum and layer norm with one SkipLayerNormalization."""
    producers = {node.output[0]: node for node in model.graph.node}
    parts: set[str] = set()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            total, gamma, beta = node.input
            biased, skip = producers[total].input
            epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
            inputs = [producers[biased].input[0], skip, gamma, beta, producers[biased].input[1]]
            parts |= {total, biased}
            node = _node("SkipLayerNormalization", inputs, node.output[0], _FUSED, epsilon=epsilon)
        nodes.append(node)
    _set_nodes(model, [node for node in nodes if node.output[0] not in parts])


def mask_padding(model: onnx.ModelProto) -> None:
    """Add the input `mask (B, S) int32`: 1 for a token, 0 for padding."""
    _add_input(model, "mask", TensorProto.INT32, ["batch", "tokens"])
    _add_constant(model, "last_axis", np.array([2], np.int64))
    nodes = list(model.graph.node)
    hidden = _pooling(model).input[0]
    masked = [
        _node("Cast", ["mask"], "mask_float", to=TensorProto.FLOAT),
        _node("Unsqueeze", ["mask_float", "last_axis"], "mask_rows"),
        _node("Mul", [hidden, "mask_rows"], "masked"),
        # A mean that includes padding suffices, since the vector is normalised next.
        _node("ReduceMean", ["masked"], "pooled", axes=[1], keepdims=0),
    ]
    _attend_to(nodes, "mask")
    _set_nodes(model, [n for node in nodes for n in (masked if node.name == "pooled" else [node])])


def pack(model: onnx.ModelProto) -> None:
    """Let a row have several texts, one after the other.

    Add the inputs `positions (B, S) int32`, `mask (B, S, S) int32`, 1 where a token may attend to
    another, and `pool (N, B * S) float32`, the tokens of each of N texts.
    """
    _add_input(model, "positions", TensorProto.INT32, ["batch", "tokens"])
    _add_input(model, "mask", TensorProto.INT32, ["batch", "tokens", "tokens"])
    _add_input(model, "pool", TensorProto.FLOAT, ["texts", "flat"])
    nodes = list(model.graph.node)
    hidden = _pooling(model).input[0]
    flat = helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["flat", _width(model)])
    model.graph.value_info.append(flat)  # the quantiser does not infer it
    _add_constant(model, "flat_shape", np.array([-1, _width(model)], np.int64))
    pooled = [
        _node("Reshape", [hidden, "flat_shape"], "flat"),
        _node("Gemm", ["pool", "flat"], "pooled"),
    ]
    _attend_to(nodes, "mask")
    for node in nodes:
        if node.op_type == "EmbedLayerNormalization":
            node.input.extend(["", "positions"])
    _set_nodes(model, [n for node in nodes for n in (pooled if node.name == "pooled" else [node])])


def save_quantised(model: onnx.ModelProto, path: Path) -> None:
    """Quantise as deployments/embedder/models/convert.py does, and save."""
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    full = path.with_suffix(".full")
    onnx.save(model, full)
    quantize_dynamic(
        full,
        path,
        op_types_to_quantize=["MatMul", "Attention"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    full.unlink()


def _node(op: str, inputs: list[str], output: str, domain: str = "", **attrs: Any) -> NodeProto:
    return helper.make_node(op, inputs, [output], output, domain=domain, **attrs)


def _attend_to(nodes: list[NodeProto], mask: str) -> None:
    for node in nodes:
        if node.op_type == "Attention":
            node.input.append(mask)


def _pooling(model: onnx.ModelProto) -> NodeProto:
    return next(node for node in model.graph.node if node.name == "pooled")


def _width(model: onnx.ModelProto) -> int:
    return int(model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)


def _add_input(model: onnx.ModelProto, name: str, kind: int, shape: list[str]) -> None:
    model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))


def _add_constant(model: onnx.ModelProto, name: str, value: np.ndarray[Any, Any]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(value, name))


def _set_nodes(model: onnx.ModelProto, nodes: list[NodeProto]) -> None:
    copies = []
    for node in nodes:
        copies.append(NodeProto())
        copies[-1].CopyFrom(node)
    del model.graph.node[:]
    model.graph.node.extend(copies)
