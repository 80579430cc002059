"""A stand-in for the model in benchmarks: takes as long, but no CPU."""

import hashlib
import time
from collections.abc import Sequence

import numpy as np

from deployments.domain.embeddings import Embeddings, ModelIdentity, TextKind

_DIMENSIONS = 384


class SleepingEncoder:
    """Implements the Encoder port. Equal texts have equal vectors, others unrelated ones."""

    def __init__(self, ms_per_text: float) -> None:
        self._s_per_text = ms_per_text / 1_000

    @property
    def identity(self) -> ModelIdentity:
        """An identity of its own, so that its vectors are never compared with a model's."""
        return ModelIdentity("stand-in", "1", "none", _DIMENSIONS)

    def encode(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """`(len(texts), D) float32`, L2-normalised rows. `kind` is ignored."""
        time.sleep(self._s_per_text * len(texts))
        rows = np.empty((len(texts), _DIMENSIONS), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            digest = hashlib.shake_256(text.encode()).digest(_DIMENSIONS)
            row[:] = np.frombuffer(digest, dtype=np.uint8)
        rows -= 127.5  # not a byte's value, so no row is all zeros
        unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit
