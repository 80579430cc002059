"""Converts packaged weights to an ONNX file."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

from deployments.domain.errors import ModelUnavailable
from deployments.embedder.models.graph import BertConfig, sentence_encoder
from deployments.embedder.settings import EmbeddingSettings


def convert(
    weights_path: Path,
    sha256: str,
    config: Mapping[str, Any],
    settings: EmbeddingSettings,
    target: Path,
    progress: Callable[[str, int, int], None],
) -> None:
    """Write `target`. Raises ModelUnavailable if the weights' digest is not `sha256`."""
    progress("checking the weights", 0, 3)
    with weights_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise ModelUnavailable(
            f"the weights of {settings.model} are not the expected ones (sha256 {digest}); "
            "reinstall the package that contains them"
        )
    progress("writing the ONNX graph", 1, 3)
    model = sentence_encoder(load_file(weights_path), BertConfig.from_json(config))
    target.parent.mkdir(parents=True, exist_ok=True)
    # Convert in a temporary folder, then rename: several replicas may do this at the same time.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        converted = Path(scratch) / "fp32.onnx"
        # Mark the graph as pre-processed: it is already as fused as the quantiser would make it.
        onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        onnx.save(model, converted)
        if settings.precision == "int8":
            progress("quantising to int8", 2, 3)
            quantised = Path(scratch) / "int8.onnx"
            quantize_dynamic(
                converted,
                quantised,
                op_types_to_quantize=["MatMul", "Attention"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                # ONNX's shape inference does not know the fused operators' outputs.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            converted = quantised
        os.replace(converted, target)
    progress("ready", 3, 3)
