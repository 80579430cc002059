"""The contenders of compare.py: ways to batch texts, and runtimes with the default model."""

import functools
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.domain.embeddings import Embeddings
from deployments.embedder.encoders.windows import batches_of_equal_length

_MAX_ROWS, _MAX_TOKENS = 32, 4_096  # as in deployments/embedder/encoders/onnx.py
_PACKED_ROW = 128
_PADDING = 0

Inputs = Mapping[str, NDArray[Any]]
Windows = Sequence[Sequence[int]]
Scheme = Callable[[Windows], Iterator[tuple[list[int], Inputs]]]
"""Divides windows (lists of tokens) into inferences: the indices of each, and its inputs."""
Infer = Callable[[Inputs], Embeddings]


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    file: str
    load: Callable[[Path], Infer]
    scheme: Scheme


def equal(windows: Windows) -> Iterator[tuple[list[int], Inputs]]:
    """The service's scheme: rows of one length, so no padding and no mask."""
    lengths = [len(window) for window in windows]
    for batch in batches_of_equal_length(lengths, _MAX_ROWS, _MAX_TOKENS):
        yield batch, {"input_ids": np.array([windows[index] for index in batch], np.int32)}


def padded(
    windows: Windows, step: int, mask_type: type[np.generic]
) -> Iterator[tuple[list[int], Inputs]]:
    """Rows are padded to a multiple of `step` tokens; a batch has rows of one padded length."""
    longest = max(len(window) for window in windows)
    lengths = [min(longest, -(-len(window) // step) * step) for window in windows]
    for batch in batches_of_equal_length(lengths, _MAX_ROWS, _MAX_TOKENS):
        shape = (len(batch), lengths[batch[0]])
        input_ids = np.full(shape, _PADDING, np.int32)
        mask: NDArray[Any] = np.zeros(shape, mask_type)
        for row, index in enumerate(batch):
            input_ids[row, : len(windows[index])] = windows[index]
            mask[row, : len(windows[index])] = 1
        yield batch, {"input_ids": input_ids, "mask": mask}


def packed(windows: Windows) -> Iterator[tuple[list[int], Inputs]]:
    """One inference, with several windows to a row; each attends only to itself."""
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(windows)), key=lambda index: -len(windows[index])):
        length = len(windows[index])
        row = next((row for row, space in enumerate(free) if space >= length), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(max(_PACKED_ROW, length))
        rows[row].append(index)
        free[row] -= length
    width = max(sum(len(windows[index]) for index in row) for row in rows)
    input_ids = np.full((len(rows), width), _PADDING, np.int32)
    positions = np.zeros((len(rows), width), np.int32)
    mask = np.zeros((len(rows), width, width), np.int32)
    pool = np.zeros((len(windows), len(rows), width), np.float32)
    order: list[int] = []
    for row, indices in enumerate(rows):
        start = 0
        for index in indices:
            end = start + len(windows[index])
            input_ids[row, start:end] = windows[index]
            positions[row, start:end] = np.arange(end - start)
            mask[row, start:end, start:end] = 1
            pool[len(order), row, start:end] = 1 / (end - start)
            order.append(index)
            start = end
    yield (
        order,
        {
            "input_ids": input_ids,
            "positions": positions,
            "mask": mask,
            "pool": pool.reshape(len(windows), -1),
        },
    )


def load_onnx(path: Path) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def infer(inputs: Inputs) -> Embeddings:
        embeddings: Embeddings = session.run(None, inputs)[0]
        return embeddings

    return infer


def load_openvino(path: Path) -> Infer:
    return _load_openvino(path, "f32")


def load_openvino_bf16(path: Path) -> Infer:
    return _load_openvino(path, "bf16")


def _load_openvino(path: Path, precision: Any) -> Infer:
    from loadtest.encoders.openvino_graphs import load

    request = load(path, precision)

    def infer(inputs: Inputs) -> Embeddings:
        results = request.infer(list(inputs.values()), share_inputs=True, share_outputs=True)
        embeddings: Embeddings = np.array(results[0])
        return embeddings

    return infer


_all_padded = functools.partial(padded, step=512, mask_type=np.int32)
_steps_of_8 = functools.partial(padded, step=8, mask_type=np.int32)
_all_padded_ov = functools.partial(padded, step=512, mask_type=np.float32)
_steps_of_8_ov = functools.partial(padded, step=8, mask_type=np.float32)

SERVICE = "ORT int8"
EXACT = "ORT fp32"

ONNX = (
    Contender(SERVICE, "int8.onnx", load_onnx, equal),
    Contender("ORT int8, padded", "int8-mask.onnx", load_onnx, _all_padded),
    Contender("ORT int8, steps of 8", "int8-mask.onnx", load_onnx, _steps_of_8),
    Contender("ORT int8, packed", "int8-pack.onnx", load_onnx, packed),
    Contender(EXACT, "fp32.onnx", load_onnx, equal),
    Contender("ORT int8, skip norms", "int8-skip.onnx", load_onnx, equal),
    Contender("ORT fp32, skip norms", "fp32-skip.onnx", load_onnx, equal),
)
OPENVINO = (
    Contender("OpenVINO fp32", "fp32.xml", load_openvino, equal),
    Contender("OpenVINO bf16", "fp32.xml", load_openvino_bf16, equal),
    Contender("OpenVINO bf16, padded", "fp32-mask.xml", load_openvino_bf16, _all_padded_ov),
    Contender("OpenVINO int8 weights", "weights.xml", load_openvino, equal),
    Contender("OpenVINO int8", "int8.xml", load_openvino, equal),
    Contender("OpenVINO int8, padded", "int8-mask.xml", load_openvino, _all_padded_ov),
    Contender("OpenVINO int8, steps of 8", "int8-mask.xml", load_openvino, _steps_of_8_ov),
)
NNCF = (
    Contender("OpenVINO int8 by NNCF", "nncf.xml", load_openvino, equal),
    Contender("OpenVINO int8 by NNCF, padded", "nncf-mask.xml", load_openvino, _all_padded_ov),
)


def write_files(folder: Path, model: Path, calibration: list[list[int]]) -> list[Contender]:
    """Write the contenders' files into `folder`; return those that can run here.

    `model` has the weights and the configuration; `calibration` are representative windows.
    """
    from safetensors.numpy import load_file

    from deployments.embedder.models.graph import BertConfig

    weights = load_file(model / "model.safetensors")
    config = BertConfig.from_json(json.loads((model / "config.json").read_text(encoding="utf-8")))
    _write_onnx(folder, weights, config)
    contenders = [*ONNX]
    if importlib.util.find_spec("openvino") is None:
        print(
            "without OpenVINO, which is missing: uv pip install --python .venv/bin/python openvino"
        )
        return contenders
    _write_openvino(folder, weights, config, calibration)
    contenders += OPENVINO
    if importlib.util.find_spec("nncf") is None:
        print("without NNCF, which is missing: uv pip install --python .venv/bin/python nncf")
        return contenders
    from loadtest.encoders.openvino_graphs import save_by_nncf

    save_by_nncf(folder / "nncf.xml", folder / "fp32.xml", calibration)
    save_by_nncf(folder / "nncf-mask.xml", folder / "fp32-mask.xml", calibration)
    return [*contenders, *NNCF]


def _write_onnx(folder: Path, weights: Mapping[str, NDArray[np.float32]], config: Any) -> None:
    import onnx

    from deployments.embedder.models.graph import sentence_encoder
    from loadtest.encoders.graphs import fuse_norms, mask_padding, pack, save_quantised

    changes = {"": None, "-mask": mask_padding, "-pack": pack, "-skip": fuse_norms}
    for suffix, change in changes.items():
        graph = sentence_encoder(weights, config)
        if change:
            change(graph)
        onnx.save(graph, folder / f"fp32{suffix}.onnx")
        save_quantised(graph, folder / f"int8{suffix}.onnx")


def _write_openvino(
    folder: Path,
    weights: Mapping[str, NDArray[np.float32]],
    config: Any,
    calibration: list[list[int]],
) -> None:
    from loadtest.encoders.openvino_graphs import calibrate, save

    ranges = calibrate(weights, config, calibration)
    for masked, suffix in ((False, ""), (True, "-mask")):
        save(folder / f"fp32{suffix}.xml", weights, config, masked)
        save(folder / f"int8{suffix}.xml", weights, config, masked, "static", ranges)
    save(folder / "weights.xml", weights, config, False, "weights")
