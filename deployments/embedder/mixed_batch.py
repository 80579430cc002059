"""One batch for several calls, whose texts are queries and passages."""

from collections.abc import Callable, Sequence

import numpy as np

from deployments.domain.embeddings import Embeddings, TextKind, TextsOfKind

EncodeKind = Callable[[list[str], TextKind], Embeddings]


def encode_calls(
    calls: Sequence[Sequence[TextsOfKind]], encode: EncodeKind, dimensions: int
) -> list[Embeddings]:
    """The rows of each call, in its order; each kind is encoded at once, whoever asks.

    Shapes: for each call (its texts, dimensions), float32.
    """
    texts = [text for call in calls for its_texts, _ in call for text in its_texts]
    kinds = [kind for call in calls for its_texts, kind in call for _ in its_texts]
    rows = np.empty((len(texts), dimensions), np.float32)
    for kind in ("query", "passage"):
        chosen = [index for index, its_kind in enumerate(kinds) if its_kind == kind]
        if chosen:
            rows[chosen] = encode([texts[index] for index in chosen], kind)
    ends = np.cumsum([sum(len(its_texts) for its_texts, _ in call) for call in calls])
    return np.split(rows, ends[:-1])
