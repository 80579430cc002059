"""Writes a BERT sentence encoder as an ONNX graph, straight from its weights.

It uses fused operators of ONNX Runtime's CPU provider (its `com.microsoft` domain) that are faster
than their parts. The graph takes `input_ids (B, S) int32`, with S tokens in every row, so without
padding or mask, and returns `embedding (B, H) float32`: mean-pooled over the S tokens and
L2-normalised.

Architecture: Devlin et al., "BERT", 2019; pooling: Reimers and Gurevych, "Sentence-BERT", 2019.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17
_IR_VERSION = 9


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The fields of a model's config.json that determine the graph."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    layer_norm_eps: float

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "BertConfig":
        """The fields in `config`. Raises ValueError if the graph below does not fit the model."""
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ValueError("only BERT models with exact GELU are supported")
        return cls(
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"],
            layer_norm_eps=config["layer_norm_eps"],
        )


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, domain: str = "", **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, domain=domain, **attrs))
        return output

    def fused(self, op: str, inputs: list[str], output: str, **attrs: Any) -> str:
        return self.add(op, inputs, output, "com.microsoft", **attrs)


def sentence_encoder(
    weights: Mapping[str, NDArray[np.float32]], config: BertConfig
) -> onnx.ModelProto:
    """The model's graph. `weights` has Hugging Face's names. Raises KeyError if one is missing."""
    build = _Builder()
    hidden = _embed(build, weights, config)
    for layer in range(config.num_hidden_layers):
        hidden = _encode_layer(build, weights, config, layer, hidden)
    build.add("ReduceMean", [hidden], "pooled", axes=[1], keepdims=0)
    build.add("LpNormalization", ["pooled"], "embedding", axis=-1, p=2)
    graph = helper.make_graph(
        build.nodes,
        "sentence_encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "tokens"])],
        [
            helper.make_tensor_value_info(
                "embedding", TensorProto.FLOAT, ["batch", config.hidden_size]
            )
        ],
        build.initializers,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _embed(build: _Builder, weights: Mapping[str, NDArray[np.float32]], config: BertConfig) -> str:
    # Every token is in segment 0, so the segment's row is added to the positions here, once.
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    build.constant("word", weights["embeddings.word_embeddings.weight"])
    build.constant("position", weights["embeddings.position_embeddings.weight"] + segment)
    build.constant("embed_gamma", weights["embeddings.LayerNorm.weight"])
    build.constant("embed_beta", weights["embeddings.LayerNorm.bias"])
    build.nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            ["input_ids", "", "word", "position", "", "embed_gamma", "embed_beta"],
            ["embedded", "embedded_mask"],
            "embedded",
            domain="com.microsoft",
            epsilon=config.layer_norm_eps,
        )
    )
    return "embedded"


def _encode_layer(
    build: _Builder,
    weights: Mapping[str, NDArray[np.float32]],
    config: BertConfig,
    layer: int,
    hidden: str,
) -> str:
    def weight(name: str) -> NDArray[np.float32]:
        return weights[f"encoder.layer.{layer}.{name}"]

    def constant(name: str, value: NDArray[np.float32]) -> str:
        return build.constant(f"layer{layer}_{name}", value)

    def out(name: str) -> str:
        return f"layer{layer}_{name}_out"

    def normed(value: str, skip: str, bias: str, norm: str, name: str) -> str:
        """LayerNorm(value + bias + skip). With Sum, because ONNX Runtime would fuse Add and
        LayerNormalization into SkipLayerNormalization, which is eight times slower."""
        biased = build.add(
            "Add", [value, constant(f"{name}_bias", weight(bias))], out(f"{name}_biased")
        )
        return build.add(
            "LayerNormalization",
            [
                build.add("Sum", [biased, skip], out(f"{name}_sum")),
                constant(f"{name}_gamma", weight(f"{norm}.weight")),
                constant(f"{name}_beta", weight(f"{norm}.bias")),
            ],
            out(f"{name}_norm"),
            axis=-1,
            epsilon=config.layer_norm_eps,
        )

    projections = [f"attention.self.{part}" for part in ("query", "key", "value")]
    qkv = constant("qkv", np.concatenate([weight(f"{p}.weight").T for p in projections], axis=1))
    qkv_bias = constant("qkv_bias", np.concatenate([weight(f"{p}.bias") for p in projections]))
    attended = build.fused(
        "Attention", [hidden, qkv, qkv_bias], out("attention"), num_heads=config.num_attention_heads
    )
    projected = build.add(
        "MatMul",
        [attended, constant("projection", weight("attention.output.dense.weight").T)],
        out("projection"),
    )
    middle = normed(
        projected, hidden, "attention.output.dense.bias", "attention.output.LayerNorm", "attention"
    )
    widened = build.add(
        "MatMul", [middle, constant("widen", weight("intermediate.dense.weight").T)], out("widen")
    )
    activated = build.fused(
        "BiasGelu",
        [widened, constant("widen_bias", weight("intermediate.dense.bias"))],
        out("gelu"),
    )
    narrowed = build.add(
        "MatMul", [activated, constant("narrow", weight("output.dense.weight").T)], out("narrow")
    )
    return normed(narrowed, middle, "output.dense.bias", "output.LayerNorm", "output")
