"""Encodes several calls, whose texts are queries and passages, in one batch."""

from collections.abc import Callable, Sequence

import numpy as np

from deployments.domain.embeddings import Embeddings, TextKind, TextsOfKind

EncodeKind = Callable[[list[str], TextKind], Embeddings]


def encode_calls(
    calls: Sequence[Sequence[TextsOfKind]], encode: EncodeKind, dimensions: int
) -> list[Embeddings]:
    """The rows of each call, in order: `(texts of the call, dimensions) float32`. The texts of one
    kind, of all calls, are encoded together."""
    texts = [text for call in calls for caller_texts, _ in call for text in caller_texts]
    kinds = [kind for call in calls for caller_texts, kind in call for _ in caller_texts]
    rows = np.empty((len(texts), dimensions), np.float32)
    for kind in ("query", "passage"):
        indices = [index for index, text_kind in enumerate(kinds) if text_kind == kind]
        if indices:
            rows[indices] = encode([texts[index] for index in indices], kind)
    ends = np.cumsum([sum(len(caller_texts) for caller_texts, _ in call) for call in calls])
    return np.split(rows, ends[:-1])
