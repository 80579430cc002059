"""Embeddings, and the model that makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
"""`(N, D) float32`, L2-normalised rows, unless stated otherwise."""

TextKind = Literal["query", "passage"]
"""Some models expect different prefixes before queries and passages."""

TextsOfKind = tuple[Sequence[str], TextKind]
"""One caller's texts, in a call for several callers."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made an embedding. Vectors of two identities are never compared."""

    name: str
    revision: str
    precision: str
    dimensions: int

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.precision}, {self.dimensions} dimensions, "
            f"revision {self.revision[:12]})"
        )
