"""The default model as graphs of OpenVINO's own operators, for compare.py.

`openvino` is no dependency of this project: `uv pip install openvino`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from deployments.embedder.models.graph import BertConfig

Weights = Mapping[str, NDArray[np.float32]]
Ranges = Mapping[str, tuple[float, float]]
Quantisation = Literal["none", "weights", "static"]

_ALL_PADDING = 1e4  # effectively infinite in a softmax


def save(
    path: Path,
    weights: Weights,
    config: BertConfig,
    masked: bool,
    quantisation: Quantisation = "none",
    ranges: Ranges | None = None,
) -> None:
    """Save a graph with input `input_ids (B, S) int32` and, if `masked`, `mask (B, S) float32`.

    `weights`: int8 weights; activations are quantised by row at run time. `static`: both are int8,
    activations by `ranges`, which calibrate() returns.
    """
    model = _Graph(weights, config, masked, quantisation, ranges).model()
    openvino.save_model(model, path, compress_to_fp16=False)


def calibrate(
    weights: Weights, config: BertConfig, windows: Iterable[list[int]]
) -> dict[str, tuple[float, float]]:
    """The lowest and highest input of each multiplication by weights."""
    graph = _Graph(weights, config, masked=False, quantisation="none", ranges=None)
    compiled = openvino.Core().compile_model(graph.model(with_inputs=True), "CPU", _options("f32"))
    ranges: dict[str, tuple[float, float]] = {}
    for window in windows:
        results = list(compiled([np.array([window], np.int32)]).values())[1:]
        for name, values in zip(graph.products, results, strict=True):
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges


def save_by_nncf(path: Path, full: Path, windows: Iterable[list[int]]) -> None:
    """Save the graph in `full` as int8, by NNCF, which first smooths the activations' outliers."""
    import nncf

    model = openvino.Core().read_model(full)
    inputs: list[Any] = []
    for window in windows:
        input_ids = np.array([window], np.int32)
        has_mask = len(model.inputs) > 1
        inputs.append((input_ids, np.ones_like(input_ids, np.float32)) if has_mask else input_ids)
    quantised = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
    )
    openvino.save_model(quantised, path, compress_to_fp16=False)


def load(path: Path, precision: Literal["f32", "bf16"]) -> Any:
    """An inference request, which runs on one thread."""
    compiled = openvino.Core().compile_model(path, "CPU", _options(precision))
    return compiled.create_infer_request()


def _options(precision: str) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 384,  # only affects int8 weights
    }


class _Graph:
    def __init__(
        self,
        weights: Weights,
        config: BertConfig,
        masked: bool,
        quantisation: Quantisation,
        ranges: Ranges | None,
    ) -> None:
        self._weights = weights
        self._config = config
        self._masked = masked
        self._quantisation = quantisation
        self._ranges = ranges or {}
        self.products: dict[str, Any] = {}
        """The input of each multiplication by weights, by its name."""

    def model(self, with_inputs: bool = False) -> openvino.Model:
        ids = ops.parameter([-1, -1], np.int32, name="input_ids")
        mask = ops.parameter([-1, -1], np.float32, name="mask")
        bias = None
        if self._masked:
            penalty = ops.multiply(ops.subtract(mask, _constant(1.0)), _constant(_ALL_PADDING))
            bias = ops.unsqueeze(penalty, _axes(1, 2))
        hidden = self._embed(ids)
        for layer in range(self._config.num_hidden_layers):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden, bias)
        if self._masked:
            hidden = ops.multiply(hidden, ops.unsqueeze(mask, _axes(-1)))
        # A sum suffices, since the vector is normalised next.
        pooled = ops.reduce_sum(hidden, _axes(1))
        outputs = [ops.normalize_l2(pooled, _axes(-1), 1e-12, "add")]
        if with_inputs:
            outputs += self.products.values()
        inputs = [ids, mask] if self._masked else [ids]
        return openvino.Model([ops.result(output) for output in outputs], inputs, "encoder")

    def _embed(self, ids: Any) -> Any:
        weights = self._weights
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        positions = weights["embeddings.position_embeddings.weight"] + segment
        words = weights["embeddings.word_embeddings.weight"]
        tokens = ops.gather(ops.shape_of(ids), _axes(1), _axes(0))
        position = ops.slice(_constant(positions), _axes(0), tokens, _axes(1), _axes(0))
        word = ops.gather(_constant(words), ids, ops.constant(0))
        return self._norm(ops.add(word, position), "embeddings.LayerNorm")

    def _layer(self, prefix: str, hidden: Any, bias: Any) -> Any:
        count = self._config.num_attention_heads
        split = _axes(0, 0, count, self._config.hidden_size // count)
        swap = _axes(0, 2, 1, 3)
        heads = [
            ops.transpose(
                ops.reshape(self._product(f"{prefix}attention.self.{part}", hidden), split, True),
                swap,
            )
            for part in ("query", "key", "value")
        ]
        attended = ops.scaled_dot_product_attention(*heads, *([] if bias is None else [bias]))
        joined = ops.reshape(
            ops.transpose(attended, swap), _axes(0, 0, self._config.hidden_size), True
        )
        projected = self._product(f"{prefix}attention.output.dense", joined)
        hidden = self._norm(ops.add(projected, hidden), f"{prefix}attention.output.LayerNorm")
        wide = ops.gelu(self._product(f"{prefix}intermediate.dense", hidden), "erf")
        narrow = self._product(f"{prefix}output.dense", wide)
        return self._norm(ops.add(narrow, hidden), f"{prefix}output.LayerNorm")

    def _norm(self, values: Any, name: str) -> Any:
        normalised = ops.mvn(values, _axes(-1), True, self._config.layer_norm_eps, "INSIDE_SQRT")
        scaled = ops.multiply(normalised, _constant(self._weights[f"{name}.weight"]))
        return ops.add(scaled, _constant(self._weights[f"{name}.bias"]))

    def _product(self, name: str, values: Any) -> Any:
        self.products[name] = values
        weight = self._weights[f"{name}.weight"]
        largest = np.abs(weight).max(axis=1, keepdims=True)
        factor = _constant(weight)
        if self._quantisation == "static":
            low, high = (_constant(edge) for edge in self._ranges[name])
            values = ops.fake_quantize(values, low, high, low, high, 256)
            low, high = _constant(-largest), _constant(largest)
            factor = ops.fake_quantize(factor, low, high, low, high, 255)
        elif self._quantisation == "weights":
            scale = largest / 127
            whole = ops.constant(np.round(weight / scale).astype(np.int8))
            factor = ops.multiply(ops.convert(whole, np.float32), _constant(scale))
        product = ops.matmul(values, factor, False, True)
        return ops.add(product, _constant(self._weights[f"{name}.bias"]))


def _constant(value: NDArray[np.float32] | float) -> Any:
    return ops.constant(np.ascontiguousarray(value, dtype=np.float32))


def _axes(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))
